"""Files that land in a folder whole or not at all, beside what is there and never over it (``reliability.md`` S8).

It knows neither servers nor recordings. Its methods block; :func:`in_thread` runs them where that does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.to_thread

__all__ = ["Arrival", "Folder", "in_thread"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}


async def in_thread(work: Callable[[Unpack[Ts]], R], *args: *Ts) -> R:
    """Run ``work(*args)`` in a thread; being cancelled waits for its end, so that nothing else meets it half done."""
    task = asyncio.ensure_future(anyio.to_thread.run_sync(work, *args))
    try:
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
    except asyncio.CancelledError:  # one of asyncio itself, which knows no shields
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # asked for, so that nobody complains that it was not
        raise
    return task.result()


class Folder:
    """A folder that is held open: what is done in it is done there, whatever its path comes to mean meanwhile."""

    def __init__(self, path: Path) -> None:
        """``path`` is touched by :meth:`open` first."""
        self.path = path
        self.fd: int | None = None

    def open(self) -> None:
        """Open the folder; make it, for nobody but its owner, if it is not there."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.open in os.supports_dir_fd:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def size_of(self, name: str) -> int | None:
        """Return how long the file ``name`` is, ``None`` if there is none; ``FileExistsError`` for what is no file."""
        try:
            found = os.stat(self.at(name), dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise self.taken(name)
        return found.st_size

    def taken(self, name: str) -> FileExistsError:
        """Return the error that ``name`` is there already and is something else."""
        return FileExistsError(errno.EEXIST, "something else is there already; it is left alone", str(self.path / name))

    def at(self, name: str) -> str:
        """Return how ``name`` is called beside ``fd``; refuse what is not one name in this folder."""
        if name in ("", ".", "..") or name != os.path.basename(name) or "\0" in name:  # noqa: PTH119  text, not a path
            raise ValueError("not the name of a file in this folder")
        return name if self.fd is not None else str(self.path / name)

    def sync(self) -> None:
        """Make names durable, where folders can be synced."""
        if self.fd is not None:
            with contextlib.suppress(OSError):  # some file systems refuse; the file itself is durable
                os.fsync(self.fd)

    def close(self) -> None:
        """Let go of the folder."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Arrival:
    """A file that is on its way into a folder: under a name of its own, 0600, until it is whole."""

    def __init__(self, folder: Folder, name: str) -> None:
        """``name`` is what the file is called once it is kept; nothing is touched before :meth:`open`."""
        self._folder = folder
        self._name = folder.at(name)
        self._temporary = folder.at(f".{name}.{secrets.token_hex(6)}.part")
        self._fd: int | None = None
        self._ours = False

    def open(self) -> None:
        """Begin."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        self._fd = os.open(self._temporary, flags, 0o600, dir_fd=self._folder.fd)
        self._ours = True

    def write(self, block: bytes) -> None:
        """Append ``block``."""
        assert self._fd is not None
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def keep(self) -> None:
        """Make the file durable and give it its name; ``FileExistsError`` if that is taken."""
        assert self._fd is not None
        os.fsync(self._fd)
        self._close()
        at = self._folder.fd
        if os.name == "nt":
            os.rename(self._temporary, self._name)  # noqa: PTH104  refuses an existing target there
            return
        try:
            os.link(self._temporary, self._name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._rename()
        else:
            os.unlink(self._temporary, dir_fd=at)
        self._folder.sync()

    def discard(self) -> None:
        """Leave nothing behind; after :meth:`keep` there is nothing to leave."""
        self._close()
        if self._ours:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._folder.fd)

    def _rename(self) -> None:
        # No links here (FAT, some shares): the name is taken first, so what is replaced is our own empty file.
        at = self._folder.fd
        os.close(os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=at))
        os.replace(self._temporary, self._name, src_dir_fd=at, dst_dir_fd=at)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

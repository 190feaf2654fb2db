"""A token file that the processes of one machine share: four workers, one login.

This file knows files and their locks; when to log in is the token manager's business. Its reads and writes, a few
hundred bytes each, block the loop; its waiting does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import anyio
import msgspec

from .errors import SettingsError
from .settings import Secret

__all__ = ["FileTokenStore", "StoredToken"]

_POLL = 0.02  # seconds between two looks at a lock that another process has
_LIMIT = 16 * 1024
# Not blocking: a pipe put in the file's place would hold the loop for ever.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

if sys.platform == "win32":
    import msvcrt

    # Windows has no shared lock here: each holder locks a byte of its own, and who is alone can lock them all.
    _PLACES = 1024

    def _try_lock(fd: int, size: int = 1) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, size)
        except PermissionError:
            return False
        return True

    def _hold(fd: int) -> None:
        for place in range(_PLACES):
            os.lseek(fd, place, os.SEEK_SET)
            if _try_lock(fd):
                return
        raise BlockingIOError(0, "too many processes share it")

    def _alone(fd: int) -> bool:
        _unlock(fd)
        os.lseek(fd, 0, os.SEEK_SET)
        alone = _try_lock(fd, _PLACES)
        if alone:
            _unlock(fd, _PLACES)
        return alone

    def _unlock(fd: int, size: int = 1) -> None:
        msvcrt.locking(fd, msvcrt.LK_UNLCK, size)

else:
    import fcntl

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _hold(fd: int) -> None:
        # Never waits: the only exclusive lock on it is taken and given back under the login lock.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _alone(fd: int) -> bool:
        alone = _try_lock(fd)
        _unlock(fd)  # closing would not do where a forked child has the file open too
        return alone

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


class StoredToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token as a store returns it; its ``age`` is in seconds, for processes share no clock but the wall's."""

    value: Secret
    generation: int
    age: float
    deaths: int


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    owner: str
    generation: Annotated[int, msgspec.Meta(ge=1)]
    token: Secret
    born: float
    deaths: Annotated[int, msgspec.Meta(ge=0)]


class FileTokenStore:
    """Keeps one token for all processes of one machine, in a file that only their user can read.

    The directory must exist. Beside ``path`` stand two empty files, ``.lock`` (who logs in) and ``.holders`` (who
    still needs the token); they stay, for removing a lock file would give two processes two locks. A process that is
    killed frees both locks by dying, and the token it leaves is used by the next start.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        wall_clock: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """Share the token through the file ``path``; nothing is opened before the first login."""
        self._path = Path(path)
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._owner = ""
        self._holds: list[int] = []

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Keep all other processes out; look again every 20 ms instead of blocking the loop."""
        with self._explained():
            fd = self._open_beside(".lock")
        try:
            while not self._locked(fd):
                await self._sleep(_POLL)
            try:
                yield
            finally:
                _unlock(fd)
        finally:
            os.close(fd)

    async def join(self, owner: str) -> None:
        """Be counted among the holders; refuse a file with the token of another server or user."""
        fingerprint = hashlib.blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        if self._holds and fingerprint != self._owner:
            raise self._foreign()
        self._owner = fingerprint
        with self._explained(), contextlib.ExitStack() as undo:
            self._load()
            fd = self._open_beside(".holders")
            undo.callback(os.close, fd)
            _hold(fd)
            undo.pop_all()
        self._holds.append(fd)

    async def leave(self) -> bool:
        """Be counted no more; return whether nobody else is."""
        fd = self._holds.pop()
        try:
            with self._explained():
                return _alone(fd)
        finally:
            os.close(fd)

    async def read(self) -> StoredToken | None:
        """Return the token in the file; ``None`` where there is none, or only what no process of ours wrote."""
        with self._explained():
            record = self._load()
        if record is None:
            return None
        # The distance and not the difference: a clock set back must not make an old token young.
        age = abs(self._wall_clock() - record.born)
        return StoredToken(value=record.token, generation=record.generation, age=age, deaths=record.deaths)

    async def write(self, *, value: Secret, generation: int, deaths: int) -> None:
        """Put a token that was born just now in the place of what is there, whole or not at all."""
        born = self._wall_clock()
        with self._explained():
            self._save(
                _Record(version=1, owner=self._owner, generation=generation, token=value, born=born, deaths=deaths)
            )

    async def clear(self) -> None:
        """Remove the token file."""
        with self._explained():
            self._path.unlink(missing_ok=True)

    def _load(self) -> _Record | None:
        try:
            fd = _open_private(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            record = _decoded(file.read(_LIMIT))
        if record is not None and (record.version, record.owner) != (1, self._owner):
            raise self._foreign()
        return record

    def _save(self, record: _Record) -> None:
        # One name is enough under the lock, and what a killed process left is cleared by the next.
        fresh = self._beside(".new")
        fresh.unlink(missing_ok=True)
        try:
            with os.fdopen(_open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(msgspec.json.encode(record, enc_hook=_reveal))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        finally:
            fresh.unlink(missing_ok=True)

    def _locked(self, fd: int) -> bool:
        with self._explained():
            return _try_lock(fd)

    def _open_beside(self, suffix: str) -> int:
        return _open_private(self._beside(suffix), os.O_RDWR | os.O_CREAT)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _foreign(self) -> SettingsError:
        return SettingsError(f"{self._path} is the file of another server, user or version; give each its own")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise SettingsError(f"the directory of the token file {self._path} does not exist; create it") from None
        except OSError as error:
            raise SettingsError(f"the token file {self._path} cannot be used: {error.strerror}") from None


def _open_private(path: Path, flags: int) -> int:
    """Open ``path``, 0600 from its first moment if it is new; refuse links and what others can reach."""
    if path.is_symlink():
        raise SettingsError(f"{path} is a symbolic link; give the path of the file itself")
    fd = os.open(path, flags | _FLAGS, 0o600)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) and not (os.name == "posix" and mode & 0o077):
        return fd
    os.close(fd)
    if stat.S_ISREG(mode):
        raise SettingsError(f"{path} can be reached by other users (mode {mode & 0o777:03o}); remove it, or chmod 600")
    raise SettingsError(f"{path} is not a file; give the path of a file of its own")


def _decoded(content: bytes) -> _Record | None:
    try:
        return msgspec.json.decode(content, type=_Record, dec_hook=_conceal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _reveal(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError


def _conceal(_: type, value: Any) -> Secret:
    # What cannot stand in an HTTP header is not a token, whoever wrote it.
    if isinstance(value, str) and value and all("!" <= character <= "~" for character in value):
        return Secret(value)
    raise ValueError("no token")

"""What every test is watched for: that it blocks no event loop from the package, and that it leaves nothing behind.

``conftest.py`` loads it for the whole suite; ``test_guards.py`` shows that it catches.
"""

import asyncio
import gc
import importlib.util
import inspect
import linecache
import os
import sqlite3
import sys
import threading
import time
import traceback
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

TESTS = f"{Path(__file__).parent}{os.sep}"
PACKAGE = f"{Path(__file__).parent.parent / 'ucontact_async'}{os.sep}"
# Events of the interpreter that mean waiting for a disk, a name server, a process or somebody else.
WAITING = {
    "open",
    "os.listdir",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.scandir",
    "os.truncate",
    "shutil.copyfile",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "subprocess.Popen",
    "urllib.Request",
}
# Where the package may, by file and function, and why.
ALLOWED = {
    "settings.py:zone_of": "the file of a time zone, once, while a client is made",
    "settings.py:read": "the file of a server's profile, once, while a client is made",
    "token_store.py:_open_private": "some hundred bytes, under a lock between processes that is not kept over a wait",
    "token_store.py:_load": "the same",
    "token_store.py:_save": "the same",
    "token_store.py:clear": "the same",
    "batch/journal_rows.py:open_journal": "said to block: a person's look at a journal, without a run",
    "emulator/wallboard.py:_read": "a page of the package itself, once",
    "emulator/agent_portal.py:_read": "the same",
    "emulator/portal_form.py:_read": "the same",
    "portal/page.py:bridge_script": "the same",
    "fleet/database.py:migrations": "files of the package itself, before a worker begins",
    "batch/sources.py:__init__": "a caller opens an input before it is run",
    "batch/workbook.py:open_source": "a command opens its input before it does anything else",
    "probe/findings.py:write_new": "a command writes its report when all else is done",
    "batch/journal_calls.py:sqlite_version": "asks the engine itself, in memory",
}
FOLDER = Path("/proc/self/fd")
# Threads that live as long as their loop or process, whoever's test was the first to need one.
LASTING = ("AnyIO worker thread", "asyncio_", "pytest_timeout")
# What other libraries keep open as long as their process lives: the fonts that a picture was drawn with.
KEPT_OPEN = ("/matplotlib/mpl-data/",)
# Servers of the session, which some tests end and start again.
RESTARTED = ("postgres",)
# A traceback may be written at any moment: that of a task which nobody asked how it ended, when it is collected.
TRACING = (linecache.__file__, traceback.__file__)
_AWAITED = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class _Watch:
    """Notes each blocking call of the package on the thread of a running loop, from start to stop."""

    def __init__(self):
        self.found = []
        self.on = False
        self._sleep, self._connect = time.sleep, sqlite3.connect
        sys.addaudithook(self._audit)

    def start(self):
        self.found = []
        self.on = True
        time.sleep, sqlite3.connect = self._slept, self._connected

    def stop(self):
        self.on = False
        time.sleep, sqlite3.connect = self._sleep, self._connect

    def _audit(self, event, arguments):
        if self.on and event in WAITING:
            self._note(f"{event}({arguments[0]!r})")

    def _slept(self, seconds):
        self._note(f"time.sleep({seconds})")
        self._sleep(seconds)

    def _connected(self, *arguments, **options):
        connection = self._connect(*arguments, **options)
        connection.set_trace_callback(lambda statement: self.on and self._note(f"sqlite3: {statement:.80}"))
        return connection

    def _note(self, what):
        if asyncio._get_running_loop() is None:
            return
        frame, places, awaited = sys._getframe(2), [], False
        while frame is not None:
            name, function = frame.f_code.co_filename, frame.f_code.co_name
            if name.startswith("<frozen importlib") or name in TRACING:
                return  # a lazy import reads its file, once; the lines of a traceback are read from theirs
            if not awaited and name.startswith(TESTS):
                return  # a test's own doing: in a callback, or by a function of the package that is no coroutine
            if name.startswith(PACKAGE):
                places.append(f"{name.removeprefix(PACKAGE)}:{function}")
                awaited = awaited or bool(frame.f_code.co_flags & _AWAITED)
            frame = frame.f_back
        if places and not any(place in ALLOWED for place in places):
            self.found.append(f"{what} in {places[0]}")


_watch = _Watch()


def _descriptors():
    found = {}
    for entry in os.listdir(FOLDER):  # noqa: PTH208  twice as fast as Path.iterdir, before and after each test
        try:
            found[entry] = os.readlink(f"{FOLDER}/{entry}")  # noqa: PTH115  the same
        except FileNotFoundError:
            continue  # the one by which the folder was read
    return found


def _children():
    found = set()
    for task in os.listdir("/proc/self/task"):  # noqa: PTH208  the same
        try:
            found.update(Path(f"/proc/self/task/{task}/children").read_text().split())
        except FileNotFoundError:
            continue  # a thread that ended meanwhile
    return found


def _name_of(child):
    try:
        return Path(f"/proc/{child}/comm").read_text().strip()
    except FileNotFoundError:
        return ""  # it ended meanwhile


def _held():
    """Return the descriptors, threads and child processes of this process."""
    threads = {thread for thread in threading.enumerate() if not thread.name.startswith(LASTING)}
    if not FOLDER.is_dir():  # not Linux
        return {}, threads, set()
    return _descriptors(), threads, _children()


def _left(before):
    """Return what is there now and was not ``before``, in words."""
    descriptors, threads, children = _held()
    new = [
        f"descriptor {number} of {name}"
        for number, name in descriptors.items()
        if before[0].get(number) != name and not any(folder in name for folder in KEPT_OPEN)
    ]
    new += [f"thread {thread.name}" for thread in threads - before[1]]
    return new + [f"child process {child}" for child in children - before[2] if _name_of(child) not in RESTARTED]


@pytest.fixture(scope="session", autouse=True)
def _libuv():
    """Have the first loop of uvloop made before a test is watched: libuv keeps two pipes for its process."""
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        uvloop.new_event_loop().close()


@pytest.fixture(scope="session", autouse=True)
def _tracker():
    """Have the child that multiprocessing keeps to its end started before a test is watched."""
    resource_tracker.ensure_running()


@pytest.fixture(autouse=True)
def _nothing_left():
    """After a test and its fixtures: no descriptor, thread or child process is there that was not there before."""
    before = _held()
    yield
    for seconds in (0, 0.01, 0.05, 0.2, 0.5):  # what was told to end takes a moment
        time.sleep(seconds)
        if not (left := _left(before)):
            return
    gc.collect()  # whoever forgot to close something is told so, too
    if left := _left(before):
        pytest.fail(f"the test left behind: {', '.join(left)}")


@pytest.fixture(autouse=True)
def _watch_loop(request):
    """Watch every asynchronous test: nothing in the package blocks its loop, and no task is left on it."""
    if not inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        yield
        return
    request.getfixturevalue("no_task_left")
    _watch.start()
    yield
    _watch.stop()
    if _watch.found:
        pytest.fail(f"the event loop was blocked: {'; '.join(dict.fromkeys(_watch.found))}")


@pytest.fixture
async def no_task_left():
    """After the test, and after its fixtures: no task runs that did not run before."""
    before = _tasks()
    yield
    for _ in range(10):  # what was cancelled, or has its result, needs a few turns to end
        if not _tasks() - before:
            return
        await asyncio.sleep(0)
    await asyncio.sleep(0.2)
    left = _tasks() - before
    assert not left, f"the test left tasks behind: {left}"


def _tasks():
    """Return the tasks of this loop but for the one by which anyio's plugin runs each fixture and test."""
    return {task for task in asyncio.all_tasks() if "_call_in_runner_task" not in task.get_coro().__qualname__}

"""The guards catch: tests that leave something behind or block the loop fail, each for its own reason."""

import os
import subprocess
import sys
from pathlib import Path

import guards
import pytest

MADE_UP = f'''
import asyncio, os, socket, subprocess, sys, threading
import pytest

KEPT = []
OURS = {guards.PACKAGE!r} + "made_up.py"

def ours(code):
    exec(compile(code, OURS, "exec"), {{}})

# Python 3.11 opens a file "<unknown>" for a line that it cannot parse.
ODD = """
import linecache, traceback
linecache.cache["odd"] = 9, None, ["1 + = 2 + "], "odd"
try: eval(compile("1 / (2-2)", "odd", "eval"))
except ZeroDivisionError: traceback.format_exc()
"""

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"

def test_nothing(): pass
async def test_nothing_asynchronous(): await asyncio.sleep(0)
def test_ours_without_a_loop(): ours("import time; time.sleep(0); open(__import__('os').devnull).close()")
async def test_a_thread_of_ours(): await asyncio.to_thread(ours, "import time; time.sleep(0)")
async def test_others_may_wait(): open(os.devnull).close()
async def test_a_traceback_is_written(): ours(ODD)

def test_descriptor(): os.open(os.devnull, os.O_RDONLY)
def test_socket(): KEPT.append(socket.socket())
def test_thread(): threading.Thread(target=threading.Event().wait, name="left", daemon=True).start()
def test_child(): KEPT.append(subprocess.Popen([sys.executable, "-c", ""]))
async def test_task(): KEPT.append(asyncio.create_task(asyncio.sleep(9), name="left"))
def test_unclosed(): open(os.devnull)
async def test_open(): ours("open(__import__('os').devnull).close()")
async def test_sleep(): ours("import time; time.sleep(0)")
async def test_sqlite(): ours("import sqlite3; db = sqlite3.connect(':memory:'); db.execute('SELECT 1'); db.close()")
async def test_process(): ours("import subprocess, sys; subprocess.run([sys.executable, '-c', ''])")
async def test_name(): ours("import socket; socket.getaddrinfo('127.0.0.1', 80)")
'''
CAUGHT = {
    "test_descriptor": "the test left behind: descriptor",
    "test_socket": "of socket:[",
    "test_thread": "thread left",
    "test_child": "child process",
    "test_task": "the test left tasks behind",
    "test_unclosed": "PytestUnraisableExceptionWarning",
    "test_open": "the event loop was blocked: open(",
    "test_sleep": "the event loop was blocked: time.sleep(0) in made_up.py",
    "test_sqlite": "the event loop was blocked: sqlite3: SELECT 1",
    "test_process": "the event loop was blocked: subprocess.Popen(",
    "test_name": "the event loop was blocked: socket.getaddrinfo(",
}


@pytest.mark.skipif(not guards.FOLDER.is_dir(), reason="only on Linux: /proc")
def test_each_guard_catches(tmp_path):
    """Of tests that are made up, those fail that must, with what they did; the others pass."""
    Path(tmp_path, "test_made_up.py").write_text(MADE_UP)
    Path(tmp_path, "pytest.ini").write_text("[pytest]\nanyio_mode = auto\nfilterwarnings = error\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "guards", "-p", "no:cacheprovider", "--tb=short"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(guards.__file__).parent), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    summary = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert {line.split("::")[1].split(" ")[0] for line in summary} == set(CAUGHT), done.stdout
    for name, reason in CAUGHT.items():
        assert any(f"::{name} " in line and reason in line for line in summary), (name, done.stdout)


@pytest.mark.parametrize("place", guards.ALLOWED)
def test_what_is_allowed_exists(place):
    """Each place that may block is a function of the package, so that none is allowed that went away."""
    file, name = place.split(":")
    assert f"def {name}(" in Path(guards.PACKAGE, file).read_text(encoding="utf-8")

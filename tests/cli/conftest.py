"""An emulator as a process of its own, which the tests of a module share, and a file scheduled on it."""

import subprocess
import sys
from urllib.request import Request, urlopen

import pytest

from ucontact_async.cli import main


@pytest.fixture(scope="module")
def url():
    """The emulator's address."""
    process = subprocess.Popen([sys.executable, "-m", "ucontact_async", "emulator"], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().removeprefix("listening on ").strip()
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.stdout.close()


@pytest.fixture
def schedule(url, monkeypatch):
    """Schedule a file on an emulator where nothing has happened yet; return the exit code."""
    urlopen(Request(f"{url}/_emulator/reset", method="POST"), timeout=10).close()
    environment = {"URL": url, "USER": "api", "PASSWORD": "secret", "TIMEZONE": "America/Montevideo"}
    for name, value in environment.items():
        monkeypatch.setenv(f"UCONTACT_{name}", value)
    return lambda file, *arguments: main(["schedule", str(file), "--campaign", "Ventas->", *map(str, arguments)])

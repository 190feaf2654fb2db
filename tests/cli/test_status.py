"""``ucontact-async status``: one table, or one after the other."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta
from urllib.request import Request, urlopen

import pytest

from ucontact_async.api.campaigns import AverageTime, CampaignStatus, OtherStatus
from ucontact_async.cli.status import table

COMMAND = [sys.executable, "-m", "ucontact_async"]
HEADINGS = [
    *("CAMPAIGN", "AGENTS", "LOGGED", "AVAILABLE", "BUSY", "PAUSED", "WAITING"),
    *("COMPLETED", "ABANDONED", "TOTAL", "TALK", "HOLD", "SERVICE"),
]


@pytest.fixture(scope="module")
def url():
    process = subprocess.Popen([*COMMAND, "emulator"], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture(autouse=True)
def _clean_server(url):
    door(url, "reset", "POST")


def door(url, what, method, body=None):
    data = None if body is None else json.dumps(body).encode()
    urlopen(Request(f"{url}/_emulator/{what}", data=data, method=method), timeout=10).close()


def environment(url, **changes):
    env = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")}
    env |= {"UCONTACT_URL": url, "UCONTACT_USER": "api", "UCONTACT_PASSWORD": "secret"} | changes
    return {name: value for name, value in env.items() if value is not None}


def status(url, *arguments, **changes):
    return subprocess.run(
        [*COMMAND, "status", *arguments],
        env=environment(url, **changes),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@contextmanager
def watching(url, **streams):
    """Run ``status --watch``; whatever happens it is gone afterwards."""
    # A shell starts what runs in the background deaf to SIGINT.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from ucontact_async.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "status", "--watch", "--every", "0.1"]
    with subprocess.Popen(command, env=environment(url), **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def test_one_line_a_campaign(url):
    """The table has headings and a line for each campaign; nothing else is printed; exit 0."""
    result = status(url)
    assert (result.returncode, result.stderr) == (0, "")
    headings, *lines = [line.split() for line in result.stdout.splitlines()]
    assert headings == HEADINGS
    zeros = ["2", "2", "2", "0", "0", "0", "0", "0", "0", "00:00:00", "00:00:00", "0.0%"]
    assert lines == [["Soporte<-", *zeros], ["Ventas->", *zeros]]


@pytest.mark.parametrize(
    ("arguments", "changes", "said"),
    [
        ([], {"UCONTACT_URL": None}, "UCONTACT_URL"),
        ([], {"UCONTACT_PASSWORD": None}, "password"),
        ([], {"UCONTACT_PASSWORD": "wr0ng-pw"}, "refused user and password"),
        (["--watch"], {"UCONTACT_PASSWORD": "wr0ng-pw"}, "refused user and password"),
        (["--watch", "--every", "0"], {}, "every"),
        (["--every", "often"], {}, "--every"),
    ],
)
def test_usage_and_settings_are_exit_2(url, arguments, changes, said):
    """What cannot work ends at once with a sentence, and no password in it."""
    result = status(url, *arguments, **changes)
    assert result.returncode == 2
    assert said in result.stderr
    assert "wr0ng-pw" not in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_server_that_cannot_be_read_is_exit_4(url):
    """Neither a server that is not there nor one that fails leaves a table."""
    assert status("http://127.0.0.1:1").returncode == 4
    door(url, "faults", "PUT", {"rules": [{"endpoint": "Supervisor/*", "fault": "body"}]})
    result = status(url)
    assert (result.returncode, result.stdout) == (4, "")
    assert result.stderr.startswith("ucontact-async: ")


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_until_told_to_end(url, number):
    """The table comes again and again, stale while the server fails, and Ctrl-C ends it with exit 0 and a logout."""
    with watching(url, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = [process.stdout.readline() for _ in range(4)]
        again = [process.stdout.readline() for _ in range(4)]
        assert first[1:] == again[1:]
        assert first[1].split() == HEADINGS
        door(url, "faults", "PUT", {"rules": [{"endpoint": "Supervisor/*", "fault": "status", "status": 500}]})
        stale = next(line for line in iter(process.stdout.readline, "") if "STALE" in line)
        assert "HTTP 500" in stale
        assert [process.stdout.readline() for _ in range(3)] == first[1:]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
    assert "Traceback" not in rest
    with urlopen(f"{url}/_emulator/state", timeout=10) as answer:
        assert json.load(answer)["sessions"] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="only on systems with terminals of this kind")
def test_a_terminal_is_drawn_anew(url):
    """On a terminal each table takes the place of the last."""
    import pty

    leader, follower = pty.openpty()
    with watching(url, stdout=follower) as process:
        os.close(follower)
        seen = b""
        while seen.count(b"\x1b[H\x1b[2J") < 3:
            seen += os.read(leader, 4096)
        process.terminate()
        assert process.wait(20) == 0
    os.close(leader)


def test_what_a_server_left_out_or_made_up():
    """Unknown figures are dashes, no name can steer the terminal, and what is no campaign is only counted."""
    found = {
        "b": CampaignStatus(campaign="b\x1b[2J\n", waiting=12, hold=AverageTime(timedelta(seconds=65), 3)),
        "a": CampaignStatus(campaign="a->", service_level=99.25),
        "SIP/1001": OtherStatus(name="SIP/1001", fields={}),
    }
    headings, first, second, others = table(found).splitlines()
    assert headings.split() == HEADINGS
    assert first.split() == ["a->", *"-" * 11, "99.2%"]
    assert second.split() == ["b\\x1b[2J\\n", *"-----", "12", *"----", "00:01:05", "-"]
    assert len(first) == len(second) == len(headings)
    assert others == "(1 more that cannot be read as a campaign)"
    assert table({}).split() == HEADINGS

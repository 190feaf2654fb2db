"""S13: no secret is an argument: passwords come from the environment, a private file or standard input."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "emulated"))

from scripted_server import Scripted

from ucontact_async import SettingsError, UContact
from ucontact_async.cli import _parser, main

CANARY = "canary-password-9c1e"
SECRET = ("password", "token", "secret", "passwd", "api-key")
only_linux = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="only on Linux")


def parsers(parser, name=()):
    """Yield every command of the command line, by name, and its parser."""
    yield " ".join(name), parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from parsers(below, (*name, word))


def test_no_command_takes_a_secret():
    """No option of any command holds a secret, but the password of the emulator, which protects nothing."""
    found = {
        (name, option)
        for name, parser in parsers(_parser())
        for action in parser._actions
        for option in action.option_strings
        if any(word in option for word in SECRET) and action.nargs != 0
    }
    assert found == {("emulator", "--password")}
    assert len(list(parsers(_parser()))) > 20


COMMANDS = [name.split() for name, parser in parsers(_parser()) if not parser._subparsers and name != "emulator"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "arguments",
    [
        ["--password", CANARY],
        [f"--password={CANARY}"],
        [f"--token={CANARY}"],
        ["--url", f"https://api:{CANARY}@acme.example"],
        ["--database", f"postgresql://fleet:{CANARY}@host/calls"],
        ["--database", f"host=h password={CANARY}"],
    ],
)
def test_a_secret_in_the_arguments_is_refused(command, arguments, capsys):
    """Each command says that a secret is no argument and where it belongs, does nothing, and does not repeat it."""
    assert main([*command, *arguments]) == 2
    told = capsys.readouterr()
    assert "is no argument" in told.err
    assert "UCONTACT_PASSWORD" in told.err
    assert CANARY not in told.out + told.err


def test_what_is_no_secret_passes(capsys):
    """An address with a user name, a campaign called so and a number are taken as they are."""
    for arguments in (["--url", "https://api@acme.example"], ["--campaign", "password->"]):
        with pytest.raises(SystemExit):
            main(["schedule", *arguments])
        assert "is no argument" not in capsys.readouterr().err


def ways(tmp_path):
    """Return the ways in which a password comes in: environment, arguments and standard input of each."""
    file = tmp_path / "password"
    file.write_text(f"{CANARY}\n")
    file.chmod(0o600)
    return {
        "environment": ({"UCONTACT_PASSWORD": CANARY}, [], ""),
        "file": ({"UCONTACT_PASSWORD_FILE": str(file)}, [], ""),
        "standard input": ({}, ["--password-stdin"], f"{CANARY}\n"),
    }


@only_linux
@pytest.mark.parametrize("way", ["environment", "file", "standard input"])
def test_the_list_of_processes_shows_no_secret(way, tmp_path):
    """A command that logs in by a password from each place: it arrives, and its arguments do not hold it."""
    lines = []

    def script(connection, number, request):
        lines.append(b"".join(Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "comm")))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0")

    environment, arguments, given = ways(tmp_path)[way]
    with Scripted(script) as server:
        settings = {"UCONTACT_URL": server.url, "UCONTACT_USER": "api", "UCONTACT_TIMEZONE": "UTC", **environment}
        process = subprocess.Popen(
            [sys.executable, "-m", "ucontact_async", "status", *arguments],
            env={**{k: v for k, v in os.environ.items() if not k.startswith("UCONTACT")}, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, err = process.communicate(given, timeout=30)
    assert CANARY.encode() in server.requests[0]
    assert lines
    assert not any(CANARY.encode() in line for line in lines)
    assert CANARY not in out + err


def test_no_line_on_standard_input(monkeypatch, capsys):
    """``--password-stdin`` without a line is an error of usage."""
    monkeypatch.setenv("UCONTACT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115, PTH123
    assert main(["status", "--user", "api", "--password-stdin"]) == 2
    assert "standard input" in capsys.readouterr().err
    sys.stdin.close()


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o606])
def test_a_password_file_that_others_can_read(tmp_path, mode):
    """A password file of ours that is open to others is refused, with the command that closes it."""
    file = tmp_path / "password"
    file.write_text(CANARY)
    file.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600") as raised:
        UContact.from_env({"UCONTACT_URL": "https://a", "UCONTACT_USER": "api", "UCONTACT_PASSWORD_FILE": str(file)})
    assert CANARY not in str(raised.value)

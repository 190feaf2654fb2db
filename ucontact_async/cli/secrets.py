"""Secrets on their way in: from the environment, a file or standard input, and never as an argument.

Arguments stand in the list of processes, which every user of the machine can read, and in the shell's history.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["add_secrets", "secret_in", "secrets_of"]

_OPTION = re.compile(r"--(?:password|passwd|pass|pwd|token|secret|api-?key|client-key-password)(?:=.*)?", re.DOTALL)
# user:password@ in an address, or a password among the parameters of a database.
_ADDRESS = re.compile(r"\w+://[^/\s@]*:[^/\s]*@|\bpassword\s*=", re.IGNORECASE)
_LONGEST = 65_536


def secret_in(arguments: Sequence[str]) -> str | None:
    """Return a sentence on where a secret belongs if ``arguments`` hold one; ``None`` for others.

    The emulator's password protects nothing, and may be given.
    """
    if arguments[:1] == ["emulator"]:
        return None
    if any(_OPTION.fullmatch(argument) for argument in arguments):
        where = "UCONTACT_PASSWORD, UCONTACT_TOKEN or UCONTACT_PASSWORD_FILE, or give --password-stdin"
    elif any(_ADDRESS.search(argument) for argument in arguments):
        where = "UCONTACT_PASSWORD, a database's PGPASSWORD, and leave the address without it"
    else:
        return None
    return f"a secret is no argument: everyone on this machine can read it there; set {where}"


def add_secrets(parser: argparse.ArgumentParser) -> None:
    """Add how a password comes in, and what TLS is to trust."""
    add = parser.add_argument
    add("--password-stdin", action="store_true", help="read the password from the first line of standard input")
    add("--ca", metavar="FILE", type=Path, help="trust these certificates (PEM) instead of the system's (UCONTACT_CA)")
    add("--pin", metavar="SHA256", action="append", help="a fingerprint that the server must have (UCONTACT_PIN)")
    add("--client-cert", metavar="FILE", type=Path, help="our own certificate, as PEM (UCONTACT_CLIENT_CERT)")
    add("--client-key", metavar="FILE", type=Path, help="and its key, if it is elsewhere (UCONTACT_CLIENT_KEY)")


def secrets_of(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Put what :func:`add_secrets` added into ``found``, over what the environment says."""
    import msgspec

    from ..errors import SettingsError
    from ..settings import Secret, Tls

    if getattr(args, "password_stdin", False):
        line = sys.stdin.readline(_LONGEST).rstrip("\r\n")
        if not line:
            raise SettingsError("--password-stdin: standard input has no first line; write the password there")
        found["password"] = Secret(line)
        del line
    given: dict[str, Any] = {"ca": "ca", "pins": "pin", "cert": "client_cert", "key": "client_key"}
    given = {ours: value for ours, theirs in given.items() if (value := getattr(args, theirs, None)) is not None}
    if "pins" in given:
        given["pins"] = tuple(given["pins"])
    if given:
        found["tls"] = msgspec.structs.replace(found.get("tls", Tls()), **given)

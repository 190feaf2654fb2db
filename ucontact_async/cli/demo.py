"""``ucontact-async demo``: the main job on the embedded emulator, with faults injected and both books compared."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import tell

if TYPE_CHECKING:
    from ..batch.outcome import Outcome
    from ..emulator import Emulator

__all__ = ["add_parser", "compare", "run"]

_ZONE = "America/Santiago"
_CAMPAIGN = "Ventas->"
_DIALERS = "Dialers/*"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``demo`` and its arguments."""
    parser = commands.add_parser("demo", help="schedule a file on an emulated server that misbehaves, and check it")
    parser.add_argument("--rows", type=int, default=1000, metavar="N", help="how many rows (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="which rows the faults hit (%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 only if what we say of every row is what the server did."""
    import asyncio

    from ..errors import SettingsError

    if args.rows < 1:
        raise SettingsError("--rows is 1 or more")
    return asyncio.run(_demo(args.rows, args.seed))


def _faults(seed: int, rows: int) -> dict[str, Any]:
    """Return every kind of trouble at once, for about two rows in a hundred."""
    few = {"endpoint": _DIALERS, "probability": 0.02, "count": max(1, rows // 500)}
    once = few | {"count": 1}
    wait = {"headers": {"Retry-After": "0"}}
    rules = [
        {"endpoint": "*", "fault": "latency", "seconds": 0.01},
        {"endpoint": _DIALERS, "fault": "status", "status": 401, "after": rows // 10, "count": 1},
        {"endpoint": _DIALERS, "fault": "refuse", "seconds": 0.2, "after": rows // 2, "count": 1},
        few | {"fault": "status", "status": 429} | wait,
        few | {"fault": "status", "status": 503} | wait,
        few | {"fault": "status", "status": 502, "body": "<html><h1>502 Bad Gateway</h1></html>", "apply": True},
        few | {"fault": "body", "body": "0"},
        few | {"fault": "body", "body": "<html>login</html>"},
        few | {"fault": "close_before_read"},
        few | {"fault": "reset_after_read"},
        few | {"fault": "close_after_apply"},
        few | {"fault": "unsolicited"},
        once | {"fault": "hang_after_apply"},
        once | {"fault": "truncated"},
        once | {"fault": "late_apply", "seconds": 0.3},
    ]
    return {"seed": seed, "rules": rules}


async def _demo(rows: int, seed: int) -> int:
    import asyncio
    import tempfile

    from ..batch.operations import OPERATIONS, plan
    from ..batch.options import BulkOptions
    from ..batch.report import Rejects
    from ..batch.sources import CsvSource
    from ..client import UContact
    from ..emulator import Emulator
    from .bulk import follow, print_report

    folder = Path(tempfile.mkdtemp(prefix="ucontact-demo-"))
    contacts = folder / "contacts.csv"
    contacts.write_text(_contacts(rows), encoding="utf-8-sig")
    outcomes: list[Outcome] = []
    async with Emulator(user="api", password="secret", seed=seed) as emulator:  # noqa: S106  the emulator's own
        emulator.set_faults(_faults(seed, rows))
        tell(f"ucontact-async demo: an emulated uContact on {emulator.url}; nothing leaves this machine")
        tell("it refuses, hangs, lies and drops connections on purpose: warnings are part of the demo")
        source = CsvSource(contacts)
        tell(source.describe())
        planner = plan(source.columns, OPERATIONS["schedule"], campaign=_CAMPAIGN)
        rejects = Rejects(folder / "rejects.csv", source.columns)
        # The made-up dates pass one day, and the demo shall still run.
        options = BulkOptions(
            journal=folder / "journal.db", max_unknown=None, allow_past=True, operation="schedule", digest=source.digest
        )
        async with UContact(emulator.url, user="api", password="secret", timezone=_ZONE) as uc:  # noqa: S106
            patient = uc.with_options(timeout=1.0)
            report = await follow(patient.run(source, options, planner=planner), rows + 1, rejects, outcomes.append)
        await asyncio.sleep(0.5)  # what the server applies late is in its books by now
        print_report(report, rejects)
        outcomes = [*{outcome.index: outcome for outcome in outcomes}.values()]  # the last word on each
        agree = _print_books(outcomes, emulator)
    _write_report(folder / "report.txt", outcomes)
    tell(f"files: {folder}/ (contacts.csv, rejects.csv, report.txt, journal.db)")
    tell("next: set UCONTACT_URL, UCONTACT_USER, UCONTACT_PASSWORD and UCONTACT_TIMEZONE, then")
    tell(f"  ucontact-async schedule contacts.csv --campaign '{_CAMPAIGN}' --dry-run")
    return 0 if agree and report.rows == rows else 1


def _contacts(rows: int) -> str:
    """Return the bundled file, cut or continued to ``rows`` rows; every round has numbers of its own."""
    from importlib.resources import files

    text = files("ucontact_async.cli").joinpath("contacts.csv").read_text(encoding="utf-8-sig")
    header, *lines = text.splitlines()
    made = []
    for index in range(rows):
        round_, place = divmod(index, len(lines))
        number, rest = lines[place].split(";", 1)
        made.append(f"{number}{round_:04d};{rest}" if round_ else lines[place])
    return "\r\n".join([header, *made, ""])


def compare(outcomes: list[Outcome], emulator: Emulator) -> tuple[Counter[str], list[str]]:
    """Hold our outcomes against the server's ledger.

    Returns how many unknown rows the server had applied and not, and every contradiction in a sentence.
    """
    applied = Counter((entry.fields["destination"], entry.fields["calldate"]) for entry in emulator.ledger)
    asked = Counter[tuple[str, str]]()
    settled = Counter[str]()
    contradictions = []
    for outcome in outcomes:
        if not outcome.key:
            continue  # never a request: its number cannot be in the ledger
        request: Any = outcome.request
        call = (request.destination, f"{request.calldate:%Y-%m-%d %H:%M:%S}")
        if outcome.reason == "duplicate":
            continue
        asked[call] += 1
        times = applied[call]
        if outcome.status == "unknown":
            settled["applied" if times else "not applied"] += 1
        allowed = {"succeeded": (1,), "failed": (0,), "skipped": (0,), "unknown": (0, 1)}[outcome.status]
        if times not in allowed:
            contradictions.append(f"{outcome.position}: we say {outcome.status}, the server did it {times} times")
    contradictions += [f"a call that no row asked for: {times} times" for call, times in (applied - asked).items()]
    return settled, contradictions


def _print_books(outcomes: list[Outcome], emulator: Emulator) -> bool:
    settled, contradictions = compare(outcomes, emulator)
    counts = Counter(outcome.status.value for outcome in outcomes)
    tell("books")
    tell(
        f"  ours:   {counts['succeeded']} succeeded, {counts['failed']} failed, {counts['unknown']} unknown, "
        f"{counts['skipped']} skipped"
    )
    tell(
        f"  server: {len(emulator.ledger)} calls applied, {counts['succeeded']} of them the succeeded, "
        f"{settled['applied']} of the unknown; {emulator.ledger.logins} logins"
    )
    for contradiction in contradictions:
        tell(f"  CONTRADICTION {contradiction}")
    tell("  the books agree" if not contradictions else "  THE BOOKS DO NOT AGREE")
    return not contradictions


def _write_report(path: Path, outcomes: list[Outcome]) -> None:
    lines = [
        f"{outcome.position}\t{outcome.status}\t{outcome.reason}\t{outcome.detail}"
        for outcome in sorted(outcomes, key=lambda outcome: outcome.index)
        if outcome.status != "succeeded"
    ]
    path.write_text("\n".join([f"{len(outcomes)} rows; all but these succeeded", *lines, ""]), encoding="utf-8")

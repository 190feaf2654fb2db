"""``ucontact-async fleet``: many workers on one PostgreSQL database: init, load, worker, status, unknown, undo, drain.

It knows arguments, signals and tables on a terminal; who may send which row is the fleet's business.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bulk import add_rules, exit_code, pace_of, print_reasons, rejects_of, rules_of, say_ignored, which_of
from .command import (
    DONE,
    HOME,
    INCOMPLETE,
    STOPPED,
    UNKNOWN,
    USAGE,
    add_server,
    aligned,
    say,
    server_of,
    signals,
    tell,
)
from .language import translated
from .mapping import add_map, plan_of
from .undo import add_undo
from .unknown import add_answers, answers_of, list_unknown

if TYPE_CHECKING:
    from ..batch.options import BulkOptions
    from ..batch.rules.rules import DialRules
    from ..client import UContact
    from ..fleet.database import Database
    from ..fleet.load import Loaded
    from ..fleet.overview import Overview

__all__ = ["add_parser"]

# Not task-now: a call for this moment is not left for whoever comes.
_OPERATIONS = ("schedule", "respool", "task-priority", "task-scheduled", "task-dialer", "remove", "dnc-add")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``fleet`` and its commands."""
    fleet = commands.add_parser("fleet", help="many workers on one PostgreSQL database")
    actions = fleet.add_subparsers(required=True, metavar="ACTION")
    init = actions.add_parser("init", help="make or bring up to date the fleet's tables in the database")
    load = actions.add_parser("load", help="enter the rows of a file; the same command again goes on")
    worker = actions.add_parser("worker", help="send rows until told to stop (SIGTERM), sharing them with all others")
    status = actions.add_parser("status", help="show batches and workers")
    unknown = actions.add_parser("unknown", help="list the unknown rows of a batch and where to look, and settle them")
    undo = actions.add_parser("undo", help="take back what a batch is known to have made, while no worker sends")
    drain = actions.add_parser("drain", help="have all workers finish what is in flight and leave, and wait for them")
    parsers = {init: _init, load: _load, worker: _work, status: _status, unknown: _unknown, undo: _undo, drain: _drain}
    for parser, command in parsers.items():
        parser.add_argument(
            "--database",
            metavar="ADDRESS",
            help="postgresql://USER@HOST/NAME (UCONTACT_DATABASE; password: PGPASSWORD)",
        )
        parser.set_defaults(run=_run, command=command)
    for parser in (load, worker):
        add_rules(parser)
    for parser in (init, load, worker, unknown, drain):
        add_server(parser, timezone=parser in (load, worker), profile=parser is worker)
    _add_init(init)
    _add_load(load)
    _add_worker(worker)
    unknown.add_argument("batch", metavar="BATCH", help="what its rows are called together, such as contacts.csv")
    add_answers(unknown)
    undo.add_argument("undone", metavar="BATCH", help="what its rows are called together, such as contacts.csv")
    add_undo(undo, "BATCH")
    status.add_argument("--watch", action="store_true", help="show it again and again, until Ctrl-C")
    status.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often (%(default)s)")


def _add_init(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--max-concurrency", metavar="N", type=int, help="calls on the wire at most, of all workers together")
    add("--max-per-second", metavar="X", type=float, help="calls started in a second at most, of all workers together")


def _add_load(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help="a CSV file or workbook whose first line names the columns")
    add("--operation", choices=_OPERATIONS, default="schedule", help="what is done with each row (%(default)s)")
    add("--batch", metavar="NAME", help="what the rows are called together (the file's name)")
    add("--campaign", metavar="NAME", help="the campaign of every row, with its arrow: 'Ventas->'")
    add("--sheet", metavar="NAME", help="the sheet of a workbook that has several")
    add_map(parser)
    add("--on-duplicate", choices=("refuse", "skip", "allow"), default="refuse", help="the second of two equal rows")
    add("--amended", action="store_true", help="the file was changed since it was loaded")
    add("--retry-refused", action="store_true", help="send again what the server refused before")
    add("--retry-undone", action="store_true", help="send again what `fleet undo` took back")
    add("--allow-past", action="store_true", help="send calls whose calldate has passed; they ring at once")
    add("--report", metavar="PATH", type=Path, help="the rows that are not to be sent, as CSV (FILE.rejects.csv)")


def _add_worker(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--once", action="store_true", help="leave when nothing can be claimed, instead of waiting for more")
    add("--name", help="what others see it as (host:process)")
    add("--lease", metavar="SECONDS", type=float, default=30.0, help="when it is dead, others have its rows (30)")
    add("--max-concurrency", metavar="N", default="auto", help="calls on the wire at most, of this worker (auto)")
    add("--max-per-second", metavar="X", type=float, help="calls started in a second at most, of this worker")
    add("--max-failures", metavar="N", help="leave after more failures than N, or than N%%")
    add("--max-unknown", metavar="N", type=int, default=20, help="leave after more unknown outcomes than N (20)")
    add("--max-unknown-jump", metavar="X", type=float, default=5.0, help="or once their share is X times as high (5)")
    add("--allow-past", action="store_true", help="send calls whose calldate has passed meanwhile; they ring at once")
    add(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=300.0,
        help="for a database that is away at the start (%(default)g)",
    )
    parser.set_defaults(retry_refused=False)


def _run(args: argparse.Namespace) -> int:
    """Run one of the commands; without the extra, say how to install it."""
    import asyncio

    if importlib.util.find_spec("psycopg") is None or importlib.util.find_spec("psycopg_pool") is None:
        say("ucontact-async: the fleet needs psycopg: python -m pip install 'ucontact-async[fleet]'")
        return USAGE
    return asyncio.run(_connected(args))


async def _connected(args: argparse.Namespace) -> int:
    import asyncio
    import logging

    from ..errors import SettingsError
    from ..fleet.database import Database
    from ..settings import read_database

    if args.command is _status and not (math.isfinite(args.every) and args.every > 0):
        raise SettingsError(f"every is seconds, greater than 0, not {args.every!r}")
    address = args.database or read_database()
    if not address:
        raise SettingsError("the database is not known: set UCONTACT_DATABASE or give --database")
    command: Callable[[argparse.Namespace, Database], Awaitable[int]] = args.command
    # A line for each of its connections and tries; what it means is said once by us.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    async with Database(address, **({"patience": args.wait} if args.command is _work else {})) as database:
        if args.command is not _init:
            await database.check()
        try:
            return await command(args, database)
        except asyncio.CancelledError:
            if args.command is _status and args.watch:
                return DONE
            raise


async def _init(args: argparse.Namespace, database: Database) -> int:
    for name in await database.migrate():
        print(name)
    if args.max_concurrency is not None or args.max_per_second is not None:
        from ..fleet.lease import enter_tenant
        from ..fleet.limits import set_limits

        found = _tenant(args)
        tenant = await enter_tenant(database, found["url"], found.get("user"))
        await set_limits(database, tenant, max_concurrency=args.max_concurrency, max_per_second=args.max_per_second)
    say(f"{database} is ready")
    return DONE


async def _load(args: argparse.Namespace, database: Database) -> int:
    from ..batch.operations import OPERATIONS
    from ..batch.report import Rejects
    from ..batch.workbook import open_source
    from ..fleet.lease import enter_tenant
    from ..fleet.load import load

    uc = _client(args)
    source = open_source(args.file, sheet=args.sheet)
    operation = OPERATIONS[args.operation]
    planned = plan_of(args, source.columns, operation)
    say(source.describe())
    rules = rules_of(args, source.columns)
    say_ignored(planned, rules)
    planned.check(source, uc.rules)
    rejects = Rejects(rejects_of(args), source.columns)
    options = _options_of(args, operation.name, source.digest, rules)
    accepted = options.accepted
    # Entered by itself: a worker that enters it too must not wait for the end of a long load.
    await enter_tenant(database, uc.settings.url, uc.settings.user)
    try:
        async with database.transaction() as connection:
            loaded = await load(
                connection,
                uc,
                source,
                batch=args.batch or args.file.name,
                options=options,
                planner=planned,
                watch=lambda outcome: None if outcome.reason in accepted else rejects.add(outcome),
            )
    finally:
        rejects.close()
    return _print_loaded(loaded, rejects.rows, rejects.path)


def _options_of(args: argparse.Namespace, operation: str, digest: str, rules: DialRules | None) -> BulkOptions:
    from ..batch.options import BulkOptions

    return BulkOptions(
        **which_of(args), retry_refused=args.retry_refused, rules=rules, operation=operation, digest=digest
    )


def _print_loaded(loaded: Loaded, rejected: int, path: Path | None) -> int:
    report = loaded.report
    tell(f"{loaded.rows} rows: {loaded.planned} to be sent, {report.rows} not")
    print_reasons(report)
    if rejected:
        tell(f"not taken: {path} ({rejected} rows, each with its reason)")
    return exit_code(report)


async def _work(args: argparse.Namespace, database: Database) -> int:
    from ..batch.options import BulkOptions
    from ..batch.rules.file import read_rules
    from ..fleet.worker import Worker

    rules = None if args.rules is None else read_rules(args.rules)
    options = BulkOptions(**pace_of(args), allow_past=args.allow_past, rules=rules)
    async with await _member(args, database) as uc:
        worker = Worker(uc, database, name=args.name, lease=args.lease, options=options)

        def stop() -> None:
            if not worker.stop("interrupted"):
                worker.abort()

        say(f"working on {database} for {uc.settings.url}")
        with signals(stop):
            report = await worker.run(once=args.once)
    tell(f"{report.summary()} in {report.seconds:.1f} s")
    print_reasons(report)
    if report.stopped and not worker.told:
        tell(f"left: {report.stopped}")
        return STOPPED
    return UNKNOWN if report.unknown else INCOMPLETE if report.failed or report.skipped else DONE


def _tenant(args: argparse.Namespace) -> dict[str, Any]:
    """Return what options and environment say of the tenant; nobody logs in, so no password is needed."""
    found = server_of(args)
    if "password" not in found:
        found.setdefault("token", "none-is-needed")
    return found


def _client(args: argparse.Namespace) -> UContact:
    """Return a client that is only asked who it is and what its rules are."""
    from ..client import UContact

    return UContact(**_tenant(args))


async def _member(args: argparse.Namespace, database: Database) -> UContact:
    """Return the client of a worker: its login and its limits are those of all workers of the tenant."""
    from ..client import UContact
    from ..fleet.lease import enter_tenant
    from ..fleet.shared_limiter import SharedLimiter
    from ..fleet.token import PostgresTokenStore

    found = server_of(args)
    if "token" not in found:
        tenant = await enter_tenant(database, found["url"], found.get("user"))
        found["token_store"] = PostgresTokenStore(database, tenant)
    return UContact(limiter=SharedLimiter(), **found)


async def _status(args: argparse.Namespace, database: Database) -> int:
    import asyncio

    from ..fleet.overview import overview

    while True:
        text = _table(await overview(database))
        print((HOME if args.watch and sys.stdout.isatty() else "") + text, flush=True)
        if not args.watch:
            return DONE
        await asyncio.sleep(args.every)


def _table(found: Overview) -> str:
    from ..text import printable

    batches = [
        (
            printable(b.name, 40),
            b.rows,
            b.planned,
            b.sent,
            b.succeeded,
            b.failed,
            b.unknown,
            b.skipped,
            b.user,
            b.server,
        )
        for b in found.batches
    ]
    total = sum(worker.rows for worker in found.workers)
    workers = [
        (
            printable(w.name, 40),
            translated(w.state),
            w.shards,
            w.rows,
            _share(w.rows, total),
            f"{w.seconds:.0f}",
            w.user,
            w.server,
        )
        for w in found.workers
    ]
    heads = ["BATCH", "ROWS", "PLANNED", "SENT", "SUCCEEDED", "FAILED", "UNKNOWN", "SKIPPED", "USER", "SERVER"]
    tables: list[list[tuple[object, ...]]] = [[tuple(map(translated, heads)), *batches]]
    if workers:
        heads = ["WORKER", "STATE", "SHARDS", "ROWS", "SHARE", "SECONDS", "USER", "SERVER"]
        tables.append([tuple(map(translated, heads)), *workers])
    return "\n\n".join(aligned([[*map(str, row)] for row in table]) for table in tables)


def _share(rows: int, total: int) -> str:
    return f"{rows / total:.0%}" if total else "-"


async def _unknown(args: argparse.Namespace, database: Database) -> int:
    from ..fleet.lease import enter_tenant
    from ..fleet.unknown import resolve, unknown

    answers = answers_of(args)
    found = _tenant(args)
    tenant = await enter_tenant(database, found["url"], found.get("user"))
    if answers:
        await resolve(database, tenant, args.batch, answers)
        say(f"{len(answers)} rows settled; the next load of the same input goes by it")
    return list_unknown(args, await unknown(database, tenant, args.batch))


async def _undo(args: argparse.Namespace, database: Database) -> int:
    from .fleet_undo import undo

    return await undo(args, database, await _member(args, database))


async def _drain(args: argparse.Namespace, database: Database) -> int:
    from ..fleet.overview import drain

    uc = _client(args)
    left = await drain(database, server=uc.settings.url, user=uc.settings.user or "")
    say(f"{left} workers have left")
    return DONE

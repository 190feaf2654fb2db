"""One ScheduledCall and each fault of the emulator: what the server got, what it did, what we said of it.

Run as a command it prints the table: ``python tests/emulated/fault_matrix.py``. A row is right if the server read the
request at most once (more only where the earlier ones were surely not applied), applied it at most once, and what we
said allows for what it did.
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass
from datetime import datetime

from ucontact_async import UContact, UContactError
from ucontact_async.emulator import Emulator

ENDPOINT = "Dialers/ScheduleDialerCall"
HTML = "<html><h1>502 Bad Gateway</h1></html>"


@dataclass(frozen=True)
class Case:
    """A fault, and what must come of it: the name of the error (empty for success), complete requests, effects."""

    name: str
    rule: dict
    error: str
    requests: int = 1
    applied: int = 0


def _status(status, error, *, requests=1, applied=0, **extra):
    rule = {"fault": "status", "status": status, **extra}
    return Case(f"status {status} {extra or ''}".strip(), rule, error, requests, applied)


CASES = [
    Case("no fault", {"fault": "latency", "seconds": 0.0}, "", 1, 1),
    Case("latency", {"fault": "latency", "seconds": 0.05}, "", 1, 1),
    Case("refuse", {"fault": "refuse", "seconds": 0.1}, "ReplyLost", 0, 0),
    Case("close before reading", {"fault": "close_before_read"}, "ReplyLost", 0, 0),
    Case("reset before reading", {"fault": "reset_before_read"}, "ReplyLost", 0, 0),
    Case("close after reading", {"fault": "close_after_read"}, "ReplyLost", 1, 0),
    Case("reset after reading", {"fault": "reset_after_read"}, "ReplyLost", 1, 0),
    Case("close after applying", {"fault": "close_after_apply"}, "ReplyLost", 1, 1),
    Case("reset after applying", {"fault": "reset_after_apply"}, "ReplyLost", 1, 1),
    Case("time out before applying", {"fault": "hang_before_apply"}, "ReplyLost", 1, 0),
    Case("time out after applying", {"fault": "hang_after_apply"}, "ReplyLost", 1, 1),
    # Refused before it was applied: sent again, after a login or a wait.
    _status(401, "", requests=2, applied=1, count=1),
    _status(401, "Unauthorized", requests=2),
    _status(302, "Unauthorized", requests=2, headers={"Location": "/Integra/login.jsp"}),
    _status(302, "UnreadableReply", headers={"Location": "/elsewhere"}),
    _status(307, "UnreadableReply", headers={"Location": "/Integra/resources/Dialers/ScheduleDialerCall"}),
    _status(429, "", requests=2, applied=1, count=1, headers={"Retry-After": "0"}),
    _status(429, "Throttled", requests=3, headers={"Retry-After": "0"}),
    _status(503, "", requests=2, applied=1, count=1, headers={"Retry-After": "0"}),
    _status(503, "ServerFault"),
    _status(503, "ServerFault", applied=1, apply=True),
    _status(500, "ServerFault", applied=1, apply=True),
    _status(502, "ServerFault", body=HTML),
    _status(504, "ServerFault", applied=1, apply=True, body=HTML),
    _status(408, "ServerFault"),
    _status(400, "Refused"),
    _status(403, "Forbidden"),
    _status(404, "NotFound"),
    _status(413, "Refused"),
    _status(201, "UnreadableReply", applied=1, apply=True, body="1"),
    Case("body 0", {"fault": "body", "body": "0"}, "Rejected", 1, 0),
    Case("body 1 and a newline", {"fault": "body", "body": "1\n"}, "", 1, 1),
    Case("empty body", {"fault": "body", "body": "", "apply": True}, "UnreadableReply", 1, 1),
    Case("garbage", {"fault": "body", "body": "\x00\xff1"}, "UnreadableReply", 1, 1),
    Case("quoted one", {"fault": "body", "body": '"1"'}, "UnreadableReply", 1, 1),
    Case("one and more", {"fault": "body", "body": "1<!-- -->"}, "UnreadableReply", 1, 1),
    Case("login page", {"fault": "body", "body": "<html>login</html>"}, "UnreadableReply", 1, 1),
    Case("too long a body", {"fault": "body", "body": "1" * 100_000}, "UnreadableReply", 1, 1),
    Case("truncated", {"fault": "truncated"}, "ReplyLost", 1, 1),
    Case("late application", {"fault": "late_apply", "seconds": 0.2}, "ReplyLost", 1, 1),
    Case("late application, held open", {"fault": "late_apply", "seconds": 0.2, "hold": True}, "ReplyLost", 1, 1),
]

MAY_HAVE_HAPPENED = {"ReplyLost", "ServerFault", "UnreadableReply"}


@dataclass(frozen=True)
class Seen:
    """What came of a case."""

    requests: int
    applied: int
    error: str
    attempts: int

    def right(self, case):
        """Return whether all of it is as it must be, and what was said allows for what was done."""
        said = {"": (1,)}.get(self.error, (0, 1) if self.error in MAY_HAVE_HAPPENED else (0,))
        expected = (self.requests, self.applied, self.error) == (case.requests, case.applied, case.error)
        return expected and self.applied in said


async def run_case(case, *, lane, connection="keep", warm=False):
    """Send one ScheduledCall into the fault of ``case``; ``warm`` sends it over a connection used before."""
    async with Emulator() as emulator:
        options = {"timezone": "America/Montevideo", "connection": connection, "lane": lane}
        client = UContact(emulator.url, user="api", password="secret", **options)
        async with client as uc:
            await uc.login()
            if warm:
                await uc.dialers.remove_contact(campaign="Ventas->", destination="090000000")
            emulator.set_faults({"seed": 1, "rules": [{"endpoint": ENDPOINT, **case.rule}]})
            error, attempts = "", 1
            try:
                await uc.with_options(timeout=0.5).dialers.schedule(
                    campaign="Ventas->", destination="090000001", calldate=datetime(2027, 5, 5, 10)
                )
            except UContactError as raised:
                error, attempts = type(raised).__name__, raised.attempts
            await asyncio.sleep(0.25 if case.rule["fault"] == "late_apply" else 0)
        return Seen(emulator.ledger.requests[ENDPOINT], len(emulator.ledger.of(ENDPOINT)), error, attempts)


async def _print_table(lane, connection):
    print(f"{'fault':<62} {'requests':>8} {'applied':>7}  {'raised':<16} right")
    wrong = 0
    for case in CASES:
        for warm in (False, True):
            seen = await run_case(case, lane=lane, connection=connection, warm=warm)
            right = seen.right(case)
            wrong += not right
            name = f"{case.name}{' (used connection)' if warm else ''}"
            print(f"{name[:62]:<62} {seen.requests:>8} {seen.applied:>7}  {seen.error or '-':<16} {right}")
    print(f"{2 * len(CASES)} cells, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connection", choices=("keep", "fresh"), default="keep")
    parser.add_argument("--lane", choices=("command", "session"), default="command")
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    if arguments.uvloop:
        import uvloop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if arguments.uvloop else None) as runner:
        sys.exit(1 if runner.run(_print_table(arguments.lane, arguments.connection)) else 0)

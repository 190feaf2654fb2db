"""What a simulated run is given to do: its rows, its policy, and one name for each row on both sides of the wire."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from ucontact_async import RemoveContact, RemoveSchedule, Respool, ScheduledCall, ServerProfile

REFUSED = ("Refused", "Rejected", "Forbidden", "NotFound")
FINAL = ("succeeded", "unknown")
BEGINNING = datetime(2030, 12, 20, tzinfo=UTC)
"""What the wall clock shows when the machine's own clock shows 0: days before any call is due."""


class Profile(ServerProfile, frozen=True):
    """What is known of the server: nothing is later than 45 s after its sender has given up."""

    @property
    def quarantine(self):
        """A minute and not ten: each second of a run that waits is a few steps."""
        return 60.0


PROFILE = Profile(lateness=50.0, removes_one_second=True)


class Policy(msgspec.Struct, frozen=True):
    """How the rows are sent, and how the process ends."""

    rows: int
    concurrency: int
    connection: str
    lane: str
    retry_refused: bool
    interactive: bool
    twins: bool
    ordered: bool
    crash: str
    away: float
    again: bool
    pace: float
    removes: bool
    settles: bool
    refuses: bool


def policy_of(kinds, seed):
    """Draw the policy of a scenario."""
    chance = Random(f"policy {kinds} {seed}")
    draw = chance.choice
    policy = Policy(
        rows=draw((4, 4, 5, 6)),
        concurrency=draw((1, 2, 2, 3, 8)),
        connection=draw(("keep", "keep", "keep", "fresh")),
        lane=draw(("auto", "auto", "session")),
        retry_refused=draw((False, True)),
        interactive=draw((False, False, True)),
        twins=draw((False, False, True)),
        ordered=draw((False, False, True)),
        crash=draw(("kill", "kill", "power", "freeze")),
        away=draw((0.0, 0.001, 0.5, 40.0, 400.0)),
        again=draw((False, False, True)),
        pace=draw((0.000_02, 0.000_02, 0.000_3, 0.001)),
        removes=draw((False, False, False, True)),
        settles=draw((False, False, False, True)),
        refuses=draw((False, False, False, True)),
    )
    # A removal takes a twin off as well; what is settled is refused both twins and an order.
    if policy.removes or policy.settles:
        policy = msgspec.structs.replace(policy, twins=False, ordered=policy.ordered and not policy.settles)
    return policy


def wall_clock(now):
    """Return what the wall clock shows when the machine's own shows ``now``."""
    return BEGINNING + timedelta(seconds=now)


def rows_of(policy):
    """Return the rows of a run."""
    rows = [_call(number) for number in range(4 if policy.removes else policy.rows)]
    if policy.twins:
        rows.insert(2, rows[0])
        rows.append(rows[-1])
    if policy.removes:
        first, spooled = rows[0], rows[2]
        again = msgspec.structs.replace(first, calldate=first.calldate + timedelta(hours=1))
        rows[3:3] = [
            RemoveSchedule(
                campaign=first.campaign, destination=first.destination, since=first.calldate, until=again.calldate
            ),
            RemoveContact(campaign=spooled.campaign, destination=spooled.destination),
            again,
            msgspec.structs.replace(spooled, contact=100),
        ]
    return rows


def _call(number):
    destination = f"0990000{number:02d}"
    if number % 3 == 2:
        return Respool(campaign="Ventas->", destination=destination, dialerbase="base", contact=number)
    moment = datetime(2031, 1, 1, 10, number)
    return ScheduledCall(campaign="Ventas->", destination=destination, calldate=moment, data={"n": "1"})


def unwanted(policy):
    """Return the names of the rows that the server refuses of its own accord."""
    return {name_of(_call(1))} if policy.refuses else set()


def is_removal(request):
    """Return whether ``request`` takes calls back."""
    return isinstance(request, RemoveContact | RemoveSchedule)


def name_of(request):
    """Return what ``request`` is called: the number, and what tells it from other rows of the same number."""
    if isinstance(request, ScheduledCall):
        return f"{request.destination} at {request.calldate}"
    if isinstance(request, Respool):
        return f"{request.destination} spooled as {request.contact}"
    if isinstance(request, RemoveContact):
        return f"{request.destination} off the spool"
    return f"{request.destination} off the schedule from {request.since} to {request.until}"


_NAMES = {
    "Dialers/ScheduleDialerCall": lambda fields: f"at {fields.get('calldate')}",
    "Dialers/Respool": lambda fields: f"spooled as {fields.get('contact')}",
    "Dialers/RemoveContact": lambda _: "off the spool",
    "Dialers/RemoveScheduleDialerCall": lambda fields: (
        f"off the schedule from {fields.get('from')} to {fields.get('to')}"
    ),
}
PATHS = tuple(_NAMES)


def name_at(path, fields):
    """Return what the request with these wire ``fields`` to ``path`` is called, ``None`` if it is about no row."""
    number = number_in(fields)
    return None if path not in _NAMES or number is None else f"{number} {_NAMES[path](fields)}"


def number_in(fields):
    """Return the number that wire ``fields`` name, if they name one."""
    return fields.get("destination", fields.get("number"))


def said_of(outcome):
    """Return what is said of a row: an earlier success is one."""
    return "succeeded" if outcome.reason == "done before" else str(outcome.status)


class Books(msgspec.Struct):
    """What one process said of the rows."""

    outcomes: list
    report: object = None
    error: BaseException | None = None
    single: list = []

    def finished(self, policy, refused):
        """Return whether nothing is left to do that another run would do; those in ``refused`` always are."""
        if self.error is not None or self.report is None or self.report.stopped is not None:
            return False
        for outcome in self.words():
            again = is_removal(outcome.request) or (policy.settles and isinstance(outcome.request, ScheduledCall))
            if said_of(outcome) == "failed":
                final = outcome.reason in REFUSED and (not policy.retry_refused or name_of(outcome.request) in refused)
            else:
                final = said_of(outcome) == "succeeded" or (outcome.status == "unknown" and not again)
            if not final:
                return False
        return True

    def words(self):
        """Return the last word on each row."""
        return list({outcome.index: outcome for outcome in self.outcomes}.values())

    def said(self):
        """Return how often each status is said of each name."""
        said = {}
        for outcome in self.words():
            said.setdefault(name_of(outcome.request), Counter())[said_of(outcome)] += 1
        return said

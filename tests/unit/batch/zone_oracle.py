"""Calling windows of every time zone against the C library's own clock, which shares no code with ours.

``python tests/unit/batch/zone_oracle.py --years 10`` asks for every zone whether a call may ring around each of its
clock changes, at the edges of the windows and at random moments, and compares with what ``localtime`` of the C library
says of the wall clock. It exits 1 if a call would ring outside the windows, or is held back inside them.
"""

import argparse
import os
import random
import sys
import time
import zoneinfo
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from ucontact_async import DialerTask, DialRules, ScheduledCall, Window
from ucontact_async.batch.rules.rules import Check

# Each window as the rules have it, and as (weekdays from 0, first minute, last minute): written down twice on purpose.
WINDOWS = (Window("09:00", "13:00", "mon-fri"), Window("14:30", "20:00", "mon-fri"), Window("02:15", "02:45", "sun"))
OPEN = ((range(5), 540, 779), (range(5), 870, 1199), (range(6, 7), 135, 164))
HOLIDAYS = frozenset({date(year, 12, 25) for year in range(2020, 2050)})
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def clock_of(zone):
    """Have the C library keep the time of ``zone``."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = f":{zone}"
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


def allowed(second):
    """Return whether a call may ring at this Unix second, by the clock of the C library."""
    wall = time.localtime(second)
    minute = wall.tm_hour * 60 + wall.tm_min
    if (wall.tm_mon, wall.tm_mday) == (12, 25):
        return False
    return any(wall.tm_wday in days and first <= minute <= last for days, first, last in OPEN)


def changes(begin, end):
    """Return every second from which on the wall clock is another, found by halving."""
    found, step = [], 86_400 * 3
    for early in range(begin, end, step):
        low, high = early, early + step
        if time.localtime(low).tm_gmtoff == time.localtime(high).tm_gmtoff:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            same = time.localtime(middle).tm_gmtoff == time.localtime(low).tm_gmtoff
            low, high = (middle, high) if same else (low, middle)
        found.append(high)
    return found


def moments(begin, end, chance):
    """Return the seconds to ask about: around each clock change, at edges of the windows, and anywhere."""
    asked = []
    for change in changes(begin, end):
        asked += [change + shift for shift in (-5400, -3601, -1800, -900, -1, 0, 1, 900, 1799, 1800, 3599, 3600, 5400)]
        day = change - change % 86_400
        asked += [day + quarter * 900 + shift for quarter in range(96) for shift in (-1, 0)]
    asked += [chance.randrange(begin, end) for _ in range(100)]
    return asked


def compare(zones, years, seed=1):
    """Return how many moments were asked about, at how many a call may ring, and every contradiction."""
    now = BEGIN
    rules = DialRules(windows=WINDOWS, holidays=HOLIDAYS, zone=lambda call: call.data["zone"], costly="allow")
    check = Check(rules, zone=UTC, now=lambda: now)
    begin, end = int(BEGIN.timestamp()), int((BEGIN + timedelta(days=365.25 * years)).timestamp())
    asked = rang = 0
    problems = []
    for zone in zones:
        data = {"zone": zone}
        at_once = DialerTask.urgent(campaign="Ventas->", destination="090000001", data=data)
        with clock_of(zone):
            for second in moments(begin, end, random.Random(f"{seed} {zone}")):
                moment = datetime.fromtimestamp(second, UTC)
                later = ScheduledCall(campaign="Ventas->", destination="090000001", calldate=moment, data=data)
                right = allowed(second)
                now = BEGIN
                said = [check.blocked(1, later, {}, counted=False) is None]
                now = moment
                said.append(check.blocked(1, at_once, {}, counted=False) is None)
                asked, rang = asked + 2, rang + 2 * right
                problems += [f"{zone} at {moment}: we say {said}, the clock says {right}"] * (said != [right, right])
    return asked, rang, problems


def main(argv=None):
    """Run the proof; 1 on any contradiction."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--years", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    zones = sorted(zoneinfo.available_timezones() - {"localtime", "posixrules"})
    asked, rang, problems = compare(zones, args.years, args.seed)
    for problem in problems[:20]:
        print(problem)
    print(
        f"{len(zones)} zones, {args.years:g} years: {asked} questions, {rang} may ring, {len(problems)} contradictions"
    )
    return 1 if problems or not rang else 0


if __name__ == "__main__":
    sys.exit(main())

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ucontact_async.errors import InvalidRequest
from ucontact_async.local_time import _looked_at, format_timestamp, local_text

ZONES = [
    ZoneInfo(name)
    for name in ("America/Montevideo", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "UTC")
]
SOURCES = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=45, seconds=7)), *ZONES])
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
MOMENTS |= st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1))


def written(function, *arguments):
    try:
        return function(*arguments)
    except (InvalidRequest, OverflowError, ValueError) as error:
        return str(error)


@given(MOMENTS, SOURCES, st.sampled_from(ZONES), st.integers(0, 1))
@example(datetime(2011, 12, 30, 12), None, ZoneInfo("Pacific/Apia"), 0)
@example(datetime(2026, 4, 4, 23, 59, 59), None, ZoneInfo("America/Santiago"), 1)
@example(datetime(2026, 4, 5, 2, 59, 59), UTC, ZoneInfo("America/Santiago"), 0)
@example(datetime(1920, 5, 1, 0, 0, 30), None, ZoneInfo("America/Montevideo"), 0)
def test_a_minute_looked_at_once_is_as_good_as_every_second(moment, source, zone, fold):
    """The text of a moment does not depend on whether its minute was seen before: same words, same refusals."""
    moment = moment.replace(tzinfo=source, fold=fold)
    expected = written(_looked_at, moment, "calldate", zone)
    for _ in range(2):
        assert written(format_timestamp, moment, "calldate", zone) == expected


@pytest.mark.parametrize("hour", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("day", ["2026-04-04", "2026-04-05", "2026-09-05", "2026-09-06"])
def test_around_a_clock_that_is_moved(day, hour):
    """Every minute of the hours in which a clock is moved says the same as when it is looked at for itself."""
    for name in ("America/Santiago", "Australia/Lord_Howe"):
        for minute in range(60):
            for source in (None, UTC):
                moment = datetime.fromisoformat(f"{day}T{hour:02}:{minute:02}:59").replace(tzinfo=source)
                fast = written(format_timestamp, moment, "calldate", ZoneInfo(name))
                assert fast == written(_looked_at, moment, "calldate", ZoneInfo(name))


def test_a_zone_without_a_hash():
    """A source of offsets that cannot be remembered is looked at every time."""

    class Odd(tzinfo):
        __hash__ = None

        def utcoffset(self, moment):
            return timedelta(hours=1)

        def dst(self, moment):
            return None

    moment = datetime(2026, 5, 5, 11, tzinfo=Odd())
    zone = ZoneInfo("America/Montevideo")
    assert local_text(moment, zone) is None
    assert format_timestamp(moment, "calldate", zone) == "2026-05-05 07:00:00"

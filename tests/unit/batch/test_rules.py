"""The rules of the dial, asked directly: windows, zones, lists, caps, limits of a row, numbers, and their file."""

import itertools
import os
import random
import sys
import time
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

from ucontact_async import Cap, DialerTask, DialRules, DoNotCall, RemoveContact, ScheduledCall, SettingsError, Window
from ucontact_async.batch.rules.caps import CallBook
from ucontact_async.batch.rules.file import read_rules
from ucontact_async.batch.rules.rules import Check

sys.path.insert(0, str(Path(__file__).parent))

from zone_oracle import compare

NOON = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)  # Monday, noon in Montevideo
OFFICE = (Window("09:00", "20:00", "mon-fri"),)
MONTEVIDEO = zoneinfo.ZoneInfo("America/Montevideo")


def call(number="099123456", **fields):
    return DialerTask.urgent(campaign="Ventas->", destination=number, **fields)


def scheduled(calldate, number="099123456"):
    return ScheduledCall(campaign="Ventas->", destination=number, calldate=calldate)


def check_of(now=lambda: NOON, **rules):
    check = Check(DialRules(**{"costly": "allow", **rules}), zone=MONTEVIDEO, now=now)
    check.read()
    return check


def rule_of(check, request, key=1, **cells):
    block = check.blocked(key, request, cells, counted=False)
    return None if block is None else block.rule


needs_plans = pytest.mark.skipif(
    find_spec("phonenumbers") is None,
    reason="phonenumbers is not installed: python -m pip install 'ucontact-async[phone]'",
)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="only on systems whose C library keeps zones")
@pytest.mark.skipif(not Path("/usr/share/zoneinfo").is_dir(), reason="only on systems with a zone database")
def test_windows_agree_with_the_clock_of_the_c_library():
    """Around clock changes of zones with odd rules a call may ring when another clock says that it may."""
    zones = ["America/Montevideo", "Australia/Lord_Howe", "Africa/Casablanca", "America/Havana", "Asia/Kathmandu"]
    asked, rang, problems = compare(zones, years=3)
    assert not problems
    assert 0 < rang < asked


def test_the_oracle_would_notice_a_wrong_window(monkeypatch):
    """One minute too much at an end is found."""
    if not hasattr(time, "tzset"):
        pytest.skip("only on systems whose C library keeps zones")
    monkeypatch.setattr("zone_oracle.WINDOWS", (Window("09:00", "13:01", "mon-fri"),))
    assert compare(["America/Montevideo"], years=1)[2]


@pytest.mark.parametrize(
    ("moment", "rule"),
    [
        ("2026-11-24 09:00", None),
        ("2026-11-24 19:59:59", None),
        ("2026-11-24 20:00", "window"),
        ("2026-11-24 08:59:59", "window"),
        ("2026-11-28 12:00", "window"),
        ("2026-12-25 12:00", "holiday"),
    ],
)
def test_a_call_rings_inside_a_window(moment, rule):
    """A scheduled call is judged at its calldate: the first minute is in, the last one is out, holidays are closed."""
    check = check_of(windows=OFFICE, zone="America/Montevideo", holidays={date(2026, 12, 25)})
    assert rule_of(check, scheduled(datetime.fromisoformat(moment))) == rule


def test_a_call_whose_date_has_passed_is_judged_now():
    """What would ring at once is not judged by the hour for which it was meant."""
    night = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
    check = check_of(lambda: night, windows=OFFICE, zone="America/Montevideo")
    assert rule_of(check, scheduled(NOON)) == "window"


def test_the_column_goes_before_the_zone_of_all():
    """The cell of a row wins over the common zone; a wrong one blocks the row and is not guessed."""
    check = check_of(windows=OFFICE, zone="America/Montevideo", zone_column="tz")
    assert rule_of(check, call(), tz="Asia/Tokyo") == "window"
    assert rule_of(check, call(), tz=" ") is None
    assert rule_of(check, call(), tz="Montevideo") == "zone"
    assert rule_of(check_of(windows=OFFICE, zone_column="tz"), call()) == "zone"


@needs_plans
def test_all_zones_of_a_number_must_agree():
    """A number that may be in several zones, or in none that is known, rings only when each of them allows it."""
    check = check_of(windows=OFFICE, zone="number", regions=("US",))
    assert rule_of(check, call("2125551234")) is None  # New York, 10:00
    assert rule_of(check, call("8005551234")) == "window"  # from Guam to St. John's
    assert rule_of(check, call("2125551234", alternatives=("8085551234",))) == "window"  # Honolulu, 5:00
    assert rule_of(check, call("1001")) == "zone"


@needs_plans
def test_costly_numbers_are_refused_unless_allowed():
    """Premium and foreign numbers are blocked by name, alternatives too; one option lets them pass."""
    check = check_of(costly="refuse", regions=("UY",))
    told = [rule_of(check, call(number)) for number in ("099123456", "+59899123456", "09001234", "+18765551234")]
    assert told == [None, None, "premium", "international"]
    assert rule_of(check, call(alternatives=("0054911234567",))) == "international"
    assert rule_of(check_of(regions=("UY",)), call("09001234")) is None
    assert rule_of(check_of(costly="refuse", regions=("UY", "AR")), call("+541143210000")) is None


def test_costly_numbers_are_known_by_what_they_begin_with():
    """Without a plan of numbers, prefixes say which are premium; what begins with + or 00 is foreign."""
    check = check_of(costly="refuse", premium=("0900",))
    told = [rule_of(check, call(number)) for number in ("099123456", "09001234", "+598991", "005989")]
    assert told == [None, "premium", "international", "international"]


@pytest.mark.parametrize(
    ("number", "rule"), [("0-6-09123", "premium"), ("0-05989", "international"), ("-+5989", "international")]
)
def test_dashes_hide_no_costly_number(number, rule):
    """What a number begins with is told by what is dialled, and a dash is not, in the rules neither."""
    for prefix in ("0609", "06-09"):
        assert rule_of(check_of(costly="refuse", premium=(prefix,)), call(number)) == rule
    listed = check_of(do_not_call=(DoNotCall(["099123456"]),))
    block = listed.blocked(1, call("0-059899123456"), {}, counted=False)
    assert "cannot be looked up" in block.detail


def test_a_number_begins_with_what_may_be_dialled():
    """Numbers that begin otherwise are blocked, alternatives too: such as 99123456, which a spreadsheet shortened."""
    check = check_of(dialable=("09", "2"))
    assert [rule_of(check, call(number)) for number in ("099123456", "24001234", "99123456")] == [None, None, "prefix"]
    assert rule_of(check, call(alternatives=("34001234",))) == "prefix"


def test_requests_that_ring_nobody_pass():
    """A removal is let through whatever the rules are."""
    check = check_of(dialable=("2",), do_not_call=(DoNotCall(["099123456"]),))
    assert rule_of(check, RemoveContact(campaign="Ventas->", destination="099123456")) is None


@pytest.mark.parametrize("kind", ["file", "collection", "function"])
def test_numbers_on_a_list_are_not_called(tmp_path, kind):
    """Whatever the list is, destination and alternatives on it are blocked by the name of the list."""
    (tmp_path / "dnc.csv").write_text("phone;since\n# a comment\n099 123-456;2026\n\n24001234;2026\n", encoding="utf-8")
    listed = {"099123456", "24001234"}
    numbers = {"file": tmp_path / "dnc.csv", "collection": listed, "function": listed.__contains__}[kind]
    check = check_of(do_not_call=(DoNotCall(numbers, name="Bloctel"),), now=lambda: datetime.now(UTC))
    assert rule_of(check, call()) == "Bloctel"
    assert rule_of(check, call("091000000", alternatives=("24001234",))) == "Bloctel"
    assert rule_of(check, call("091000000")) is None


@pytest.mark.parametrize("text", ["(09) 912 3456", "'099123456", '="099123456"', ' "099.123.456";2026'])
def test_a_number_is_no_heading_however_it_is_written(tmp_path, text):
    """Brackets, and what spreadsheets put before a number to keep it, do not make the first line a heading."""
    (tmp_path / "dnc.csv").write_text(f"{text}\n24001234\n", encoding="utf-8")
    check = check_of(do_not_call=(DoNotCall(tmp_path / "dnc.csv"),), now=lambda: datetime.now(UTC))
    assert rule_of(check, call()) == "do not call"


@needs_plans
def test_a_number_is_known_in_any_spelling():
    """With the country said, a list in international form holds what is dialled in national form, and the reverse."""
    check = check_of(regions=("UY",), do_not_call=(DoNotCall(["+598 99 123 456", "091 000 000"]),))
    for number in ("099123456", "0059899123456", "099-123-456", "+59891000000"):
        assert rule_of(check, call(number)) == "do not call"
    assert rule_of(check, call("099123457")) is None


def test_spellings_that_cannot_be_compared_are_refused(tmp_path):
    """Without the country an international list is a mistake, named by its line; so is a call that cannot be found."""
    (tmp_path / "dnc.txt").write_text("099123456\n+59891000000\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"dnc\.txt, line 2: .*regions"):
        check_of(do_not_call=(DoNotCall(tmp_path / "dnc.txt"),))
    assert rule_of(check_of(do_not_call=(DoNotCall(["099123456"]),)), call("+59899123456")) == "do not call"


def test_nobody_is_called_by_an_old_list(tmp_path):
    """A list older than its age blocks every call, also when it grows old while a run is paused."""
    path = tmp_path / "dnc.txt"
    path.write_text("099123456\n", encoding="utf-8")
    os.utime(path, (NOON.timestamp() - 30 * 86_400,) * 2)
    now = NOON
    check = check_of(lambda: now, do_not_call=(DoNotCall(path),))
    assert rule_of(check, call("091000000")) is None
    now = NOON + timedelta(days=2)
    block = check.blocked(1, call("091000000"), {}, counted=False)
    assert (block.rule, block.detail[:26]) == ("do not call", "the list is of 2026-10-24,")
    as_of = DoNotCall(["1"], as_of=NOON - timedelta(days=32))
    assert rule_of(check_of(do_not_call=(as_of,)), call()) == "do not call"
    assert rule_of(check_of(do_not_call=(DoNotCall(["1"], max_age_days=None, as_of=as_of.as_of),)), call()) is None


def test_a_list_that_changes_is_read_again(tmp_path):
    """From the moment the file is another one nobody is called by what was read of the old one."""
    path = tmp_path / "dnc.txt"
    path.write_text("091000000\n", encoding="utf-8")
    check = check_of(lambda: datetime.now(UTC), do_not_call=(DoNotCall(path),))
    assert (rule_of(check, call()), check.stale) == (None, False)
    path.write_text("091000000\n099123456\n", encoding="utf-8")
    assert check.stale
    assert rule_of(check, call("092000000")) == "do not call"
    check.read()
    assert [rule_of(check, call(number)) for number in ("092000000", "099123456")] == [None, "do not call"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no number"),
        ("phone\n", "holds no number"),
        ("099123456\nAna\n", "line 2: begins with no number"),
        ("phone\n5.98991E+11\n", "line 2: holds a quantity"),
        ("5.98991E+11\tAna\n", "line 1: holds a quantity"),
        ('"5,98991E+11";Ana\n', "line 1: holds a quantity"),
        ("phone,since\n99123456.0,2026\n", "line 2: holds a quantity"),
    ],
)
def test_a_list_that_cannot_be_read_is_told(tmp_path, text, told):
    """A list without numbers, or with a line that has none, is refused by its line."""
    path = tmp_path / "dnc.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=told):
        check_of(do_not_call=(DoNotCall(path),))
    with pytest.raises(SettingsError, match="cannot be read"):
        check_of(do_not_call=(DoNotCall(tmp_path / "none.txt"),))


def test_a_cap_counts_every_number_of_a_call():
    """The call too many is blocked, for alternatives too; one that did not happen is given back."""
    check = check_of(caps=(Cap(2, hours=24, name="two a day"),))
    assert rule_of(check, call(), key=1) is None
    assert rule_of(check, call("24001234", alternatives=("099-123-456",)), key=2) is None
    assert rule_of(check, call(), key=3) == "two a day"
    assert rule_of(check, call(), key=2 - 1) is None  # asked again after a wait: the same call
    check.release(2)
    assert rule_of(check, call(), key=3) is None
    check.keep(3)
    check.release(3)
    assert rule_of(check, call(), key=4) == "two a day"


def test_scheduled_calls_count_when_they_ring():
    """Calls of other days do not add up; one between two others does."""
    check = check_of(caps=(Cap(2, hours=24),))
    days = [NOON + timedelta(days=day) for day in (1, 2, 3)]
    assert [rule_of(check, scheduled(day), key=key) for key, day in enumerate(days)] == [None] * 3
    assert rule_of(check, scheduled(days[1] + timedelta(hours=1)), key=9) is None
    assert rule_of(check, scheduled(days[1] + timedelta(hours=2)), key=10) == "cap"


def test_no_span_ever_holds_more_calls_than_its_cap():
    """Whatever the order of the calls, counting every span by itself finds no cap broken, and none kept too well."""
    chance = random.Random(1)
    for _ in range(200):
        caps = (Cap(chance.randint(1, 3), hours=1), Cap(4, hours=3))
        book, kept = CallBook(caps), []
        for _ in range(15):
            moment = float(chance.randrange(0, 20_000, 600))
            starts = [*kept, moment]
            full = any(
                sum(start <= other < start + cap.hours * 3600 for other in starts) > cap.calls
                for cap, start in itertools.product(caps, starts)
            )
            assert (book.full("1", moment) is not None) == full
            if not full:
                kept.append(moment)
                book.add("1", moment)


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        ({"not_before": "2026-11-23 12:00"}, None),
        ({"not_before": "2026-11-23 12:01"}, "not before"),
        ({"not_after": "2026-11-23 12:00:00"}, None),
        ({"not_after": "2026-11-23 11:59"}, "not after"),
        ({"not_after": "2026-11-23T15:00:00Z"}, None),
        ({"not_before": "2026-11-23 15:01+00:00"}, "not before"),
        ({"not_after": "tomorrow"}, "not after"),
        ({"not_after": "2026-11-23 23:59", "tz": "Asia/Tokyo"}, "not after"),
        ({"not_after": ""}, None),
    ],
)
def test_a_row_has_a_first_and_a_last_moment(cells, rule):
    """The cells of a row limit when it rings, in the customer's zone unless they say another."""
    assert rule_of(check_of(zone_column="tz"), call(), **cells) == rule


@pytest.mark.parametrize("column", ["not_before", "not_after"])
def test_a_limit_in_an_hour_that_comes_twice_is_kept_in_both(column):
    """Nobody knows which of the two was meant, so that between them nothing rings."""
    check = check_of(lambda: datetime(2026, 10, 25, 1, 0, tzinfo=UTC), zone="Europe/Madrid")
    assert rule_of(check, call(), **{column: "2026-10-25 02:30"}) == column.replace("_", " ")


def test_limits_may_be_functions_of_the_request():
    """Programs give moments instead of columns."""
    check = check_of(not_before=lambda _: None, not_after=lambda request: NOON - timedelta(seconds=1))
    assert rule_of(check, call()) == "not after"


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"costly": "refuse"}, r"premium numbers cannot be told .* costly='allow'"),
        ({"costly": "no"}, "costly is 'refuse' or 'allow'"),
        ({"windows": OFFICE}, "windows need the customers' zone"),
        ({"zone": "number"}, "needs regions"),
        ({"zone": "Montevideo"}, "no time zone 'Montevideo'"),
        ({"holidays": [datetime(2026, 12, 25)], "zone": "UTC"}, r"a holiday is a date, .*, not datetime"),
        ({"holidays": {"2026-12-25"}, "zone": "UTC"}, "a holiday is a date, .*, not '2026-12-25'"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(rules, told):
    """What would silently protect nobody is a mistake, and the error says what to write."""
    with pytest.raises(SettingsError, match=told):
        DialRules(**{"costly": "allow", **rules})


def test_rules_may_be_written_as_lists_or_alone():
    """What the errors say to write, such as premium=['0900'], works; so does one prefix, list or cap alone."""
    check = check_of(costly="refuse", premium=["0609"], dialable="0", do_not_call=DoNotCall(["099123456"]))
    assert [rule_of(check, call(number)) for number in ("060912345", "24001234", "099123456", "099123457")] == [
        "premium",
        "prefix",
        "do not call",
        None,
    ]
    assert DialRules(costly="allow", journals="a.journal", caps=Cap(1, hours=24)) == DialRules(
        costly="allow", journals=(Path("a.journal"),), caps=(Cap(1, hours=24),)
    )


@pytest.mark.parametrize("cap", [(0, 24), (1, 0), (1, float("nan")), (1, float("inf")), (1, 1e9)])
def test_a_cap_that_cannot_be_counted_is_refused(cap):
    """A cap has calls, and a span that dates can go back by."""
    with pytest.raises(SettingsError, match="a cap is at least one call"):
        Cap(*cap)


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (("9:00", "20:00"), "HH:MM"),
        (("09:00", "25:00"), "HH:MM"),
        (("20:00", "09:00"), "ends before it begins"),
        (("09:00", "20:00", "lun-vie"), "days are mon, tue"),
        (("09:00", "20:00", "fri-mon"), "run backwards"),
    ],
)
def test_a_window_that_is_none_is_refused(window, told):
    """A window says hours and days, or why it does not."""
    with pytest.raises(SettingsError, match=told):
        Window(*window)


def test_the_repr_of_a_list_shows_no_number():
    """Numbers at hand are hidden, a file's name is not."""
    assert "099" not in repr(DialRules(costly="allow", do_not_call=(DoNotCall(["099123456"]),)))
    assert "dnc.txt" in repr(DoNotCall("dnc.txt"))


RULES = """
zone = "America/Montevideo"
zone_column = "tz"
holidays = [2026-12-25]
dialable = ["09", "2"]
premium = ["0900"]
journals = ["other.journal"]

[[windows]]
begin = "09:00"
end = "20:00"
days = "mon-fri"

[[do_not_call]]
file = "dnc.txt"
max_age_days = 7
name = "own list"

[[caps]]
calls = 3
hours = 24
"""


def test_rules_are_read_from_a_file(tmp_path):
    """Every field has its place in the TOML file; files named in it stand beside it."""
    (tmp_path / "rules.toml").write_text(RULES, encoding="utf-8")
    assert read_rules(tmp_path / "rules.toml") == DialRules(
        zone="America/Montevideo",
        zone_column="tz",
        holidays=frozenset({date(2026, 12, 25)}),
        dialable=("09", "2"),
        premium=("0900",),
        journals=(tmp_path / "other.journal",),
        windows=OFFICE,
        do_not_call=(DoNotCall(tmp_path / "dnc.txt", 7, name="own list"),),
        caps=(Cap(3, hours=24),),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("windows = 1", r"rules.toml: Expected `array`, got `int` - at `\$.windows`"),
        ("window = []", "unknown field `window`"),
        ("zone = [", "are no TOML"),
        ("costly = 'allow'\n[[windows]]\nbegin = '9'\nend = '10:00'", "rules.toml: a window begins and ends at HH:MM"),
        ("[[caps]]\ncalls = 0\nhours = 1", "rules.toml: a cap is at least one call"),
        ("", "rules.toml: premium numbers cannot be told"),
    ],
)
def test_a_wrong_file_of_rules_is_told(tmp_path, text, told):
    """A mistake is named with the file, the place and what belongs there."""
    (tmp_path / "rules.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=told):
        read_rules(tmp_path / "rules.toml")
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read"):
        read_rules(tmp_path / "none.toml")

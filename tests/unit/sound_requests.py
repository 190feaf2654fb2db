"""Sound requests of every type, for hypothesis: drawn from the formats that a request's own declaration names."""

from datetime import datetime
from string import ascii_letters, digits
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from ucontact_async import list_file, text
from ucontact_async.api import recordings
from ucontact_async.errors import InvalidRequest
from ucontact_async.text import Rules
from ucontact_async.wire import fields_of

# No clock was changed there since 2015, so every local time from then on is sound.
ZONE = ZoneInfo("America/Montevideo")
RULES = Rules(ZONE)

_LINE = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
_PART = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters=":=;")
_NAMES = st.text(st.characters(categories=["L", "Nd"], include_characters="_ .-"), min_size=1, max_size=70)
_NUMBERS = st.text("0123456789*#+-", min_size=2, max_size=24)
_MOMENTS = st.datetimes(datetime(2016, 1, 1), datetime(2090, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=ZONE)
)
_CAMPAIGNS = st.builds(str.__add__, _NAMES, st.sampled_from(["<-", "->"]))
_JSON_TEXT = st.characters(exclude_categories=["Cs"])
_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(_JSON_TEXT),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(_JSON_TEXT), inside, max_size=3),
    max_leaves=6,
)
_STRATEGIES = {
    text.FREE_TEXT: st.text(_LINE),
    text.SECRET: st.text(st.characters(exclude_categories=["Cs"])),
    text.PRIVATE_TEXT: st.text(_LINE),
    text.GUID: st.text(ascii_letters + digits + "-", min_size=8, max_size=64),
    text.JSON_OBJECT: st.dictionaries(st.text(_JSON_TEXT), _JSON_VALUES, max_size=4),
    text.FLAG: st.booleans(),
    text.COUNT: st.integers(0, 2**31 - 1),
    text.PRIORITY: st.integers(2, 9999),
    text.NAME: st.just("") | _NAMES,
    text.DIAL_STRING: _NUMBERS,
    text.OPTIONAL_DIAL_STRING: st.just("") | _NUMBERS,
    text.CAMPAIGN: _CAMPAIGNS,
    text.OPTIONAL_CAMPAIGN: st.just("") | _CAMPAIGNS,
    text.ANY_CAMPAIGN: _CAMPAIGNS | _NAMES,
    text.CAMPAIGN_OR_ALL: _CAMPAIGNS | st.just("*"),
    text.PAIRS: st.dictionaries(st.text(_PART, min_size=1), st.text(_PART), max_size=5),
    text.PHONE_LIST: st.lists(_NUMBERS, max_size=4, unique=True),
    text.TIMESTAMP: _MOMENTS,
    text.OPTIONAL_TIMESTAMP: st.none() | _MOMENTS,
    recordings.OPTIONAL_DAY: st.from_regex(r"([0-9]{8})?", fullmatch=True),
    recordings.DIGITS: st.from_regex(r"[0-9]{0,9}", fullmatch=True),
    list_file.FILE_NAME: st.from_regex(r"[A-QS-Za-qs-z0-9_-][A-Za-z0-9_-]{0,49}\.csv", fullmatch=True),
    list_file.FILE_CONTENT: st.binary(min_size=1, max_size=200),
    list_file.USER_NAME: st.text(_LINE),
}


def sound(request_type):
    """Return a strategy of requests of this type that keep all rules of the API."""
    fields = {field.name: _STRATEGIES[field.format] for field in fields_of(request_type)}
    return st.builds(request_type, **fields).filter(_keeps_its_rules)


def _keeps_its_rules(request):
    try:
        request.check()
    except InvalidRequest:
        return False
    return True

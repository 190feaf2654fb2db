"""The API's small text formats: what is written is read back, and what could become something else is refused."""

import contextlib
import itertools
import locale
import re
from collections import UserDict
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ucontact_async.errors import InvalidRequest
from ucontact_async.java_dates import format_java_date, parse_java_date
from ucontact_async.text import (
    ANY_CAMPAIGN,
    CAMPAIGN,
    CAMPAIGN_OR_ALL,
    COUNT,
    DIAL_STRING,
    FLAG,
    FREE_TEXT,
    GUID,
    JSON_OBJECT,
    NAME,
    OPTIONAL_CAMPAIGN,
    OPTIONAL_DIAL_STRING,
    OPTIONAL_TIMESTAMP,
    PAIRS,
    PHONE_LIST,
    PRIORITY,
    PRIVATE_TEXT,
    SECRET,
    TIMESTAMP,
    Rules,
    mask_phone,
    parse_timestamp,
    printable,
)

PLAIN = Rules()
ZONES = ["America/Santiago", "America/Montevideo", "Europe/Madrid", "Australia/Lord_Howe"]
# Whatever some reader somewhere takes for the end of a line, other controls, and half a character.
CONTROLS = [
    "\n",
    "\r",
    "\r\n",
    "\x00",
    "\t",
    "\x0b",
    "\x0c",
    "\x1b",
    "\x1c",
    "\x7f",
    "\x85",
    "\x9f",
    "\u2028",
    "\u2029",
]
CONTROLS += ["\ud800", "\udfff"]
SEPARATORS = [":", "=", ";"]

safe_text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
safe_parts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters=":=;"))
pairs = st.dictionaries(safe_parts.filter(bool), safe_parts, max_size=8)
numbers = st.text("0123456789*#+-", min_size=2, max_size=24)
number_lists = st.lists(numbers, max_size=12, unique=True)
names = st.text(st.characters(categories=["L", "Nd"], include_characters="_ .-"), min_size=1, max_size=78)
campaigns = st.builds(str.__add__, names, st.sampled_from(["<-", "->"]))


def attempt(format_, value, field="destination", rules=PLAIN):
    """Return what ``value`` is written as, or the error that it gets."""
    try:
        return format_.encode(value, field, rules)
    except InvalidRequest as error:
        return error


def refused(format_, value, field="destination", rules=PLAIN):
    """Return the error that ``value`` gets."""
    with pytest.raises(InvalidRequest) as caught:
        format_.encode(value, field, rules)
    return caught.value


class TestPairs:
    """Parameters for the agent's form."""

    @given(pairs)
    @example({})
    @example({"id": "", "name": "Ñandú & Söhne? a@b.c 50% +1 / \\ \"'"})
    def test_they_are_read_back(self, value):
        """parse(encode(x)) == x, order included."""
        assert list(PAIRS.decode(PAIRS.encode(value, "data", PLAIN), PLAIN).items()) == list(value.items())

    @given(st.dictionaries(st.text(), st.text(), max_size=4))
    def test_any_mapping_is_read_back_or_refused(self, value):
        """There is no third way: nothing is replaced, dropped or split."""
        text = attempt(PAIRS, value, "data")
        if isinstance(text, InvalidRequest):
            assert text.field.startswith("data.")
        else:
            assert PAIRS.decode(text, PLAIN) == value
            assert len(text.splitlines()) <= 1

    def test_how_they_look(self):
        """The form on the vendor's page."""
        assert PAIRS.encode({"Par1": "Val1", "Par2": "Val2"}, "data", PLAIN) == "Par1=Val1:Par2=Val2"

    @pytest.mark.parametrize("bad", SEPARATORS + CONTROLS)
    @pytest.mark.parametrize("shape", ["{}tail", "head{}tail", "head{}", "{}"])
    def test_a_value_that_would_become_two(self, bad, shape):
        """A separator, a line break or a control character in a value is refused, naming the pair, not quoting it."""
        error = refused(PAIRS, {"id": "7", "note": shape.format(bad)}, "data")
        assert error.field == "data.note"
        assert "head" not in str(error)
        assert "tail" not in str(error)

    @pytest.mark.parametrize("bad", ["", *(head + bad for bad in SEPARATORS + CONTROLS for head in ("", "head"))])
    def test_a_name_that_would_become_two(self, bad):
        """The same for a name, which may not be empty either; what is quoted of it is printable."""
        error = refused(PAIRS, {bad: "x"}, "data")
        assert error.field == "data." + printable(bad)
        assert str(error).isprintable()

    @pytest.mark.parametrize("item", [7, None, 1.5, True, b"x", ["x"]])
    def test_a_value_that_is_no_text(self, item):
        """A number from a database is refused, naming the pair: there is more than one way to write it."""
        error = refused(PAIRS, {"name": "Ana", "id": item}, "data")
        assert (error.field, error.reason) == ("data.id", f"expected text, got {type(item).__name__}")

    @pytest.mark.parametrize("value", ["id=7", b"id=7", None, 7, [("id", "7")], {"id"}])
    def test_what_is_no_mapping(self, value):
        """Only a mapping becomes a snapshot."""
        with pytest.raises(InvalidRequest, match="data: expected a mapping"):
            PAIRS.snapshot(value, "data")

    def test_a_snapshot_is_a_copy(self):
        """Any mapping is taken, and what happens to it later is not seen."""
        given_ = UserDict(id="7")
        kept = PAIRS.snapshot(given_, "data")
        given_["id"] = "8"
        assert kept == {"id": "7"}

    def test_values_are_masked(self):
        """Names stay, values go; the mask is still encodable."""
        masked = PAIRS.mask({"id": "7", "name": "Ana"})
        assert masked == {"id": "***", "name": "***"}
        assert PAIRS.encode(masked, "data", PLAIN) == "id=***:name=***"

    @pytest.mark.parametrize(
        ("text", "value"),
        [("", {}), (None, {}), ("a=1=2", {"a": "1=2"}), ("a", {"a": ""}), (":a=1:", {"a": "1"}), (5, {"5": ""})],
    )
    def test_reading_is_lenient(self, text, value):
        """Other clients write less strictly than we do."""
        assert PAIRS.decode(text, PLAIN) == value


class TestDialString:
    """What may be dialled."""

    @given(numbers)
    def test_it_is_sent_as_it_is(self, number):
        """parse(encode(x)) == x."""
        assert DIAL_STRING.decode(DIAL_STRING.encode(number, "destination", PLAIN), PLAIN) == number

    @given(st.text())
    def test_nothing_else_is_sent(self, text):
        """Whatever is encoded is 2 to 24 of the allowed characters."""
        number = attempt(DIAL_STRING, text)
        if isinstance(number, InvalidRequest):
            assert number.field == "destination"
            assert str(number).isprintable()
        else:
            assert re.fullmatch(r"[0-9*#+-]{2,24}", number, re.ASCII)

    @pytest.mark.parametrize(
        "strange",
        [
            *"&/,@|!%~()[]{}<>$._ abAZ",
            *SEPARATORS,
            *CONTROLS,
            "٣",
            "\uff13",
            "²",
            "\u202e",
            "\u200b",
            "SIP/",
            "&Local/",
        ],
    )
    @pytest.mark.parametrize("shape", ["0983{}44484", "{}098344484", "098344484{}"])
    def test_what_could_add_a_call_leg(self, strange, shape):
        """Any other character is refused, also as the last one; the number itself is not quoted."""
        error = refused(DIAL_STRING, shape.format(strange))
        assert error.field == "destination"
        assert "44484" not in str(error)
        assert str(error).isprintable()

    @pytest.mark.parametrize(("number", "said"), [("", "is empty"), ("1", "1 characters"), ("1" * 25, "25 characters")])
    def test_too_short_and_too_long(self, number, said):
        """Length is told, and for an empty one what to do."""
        assert said in refused(DIAL_STRING, number).reason

    def test_empty_where_it_is_optional(self):
        """An optional number may be empty, a needed one may not."""
        assert OPTIONAL_DIAL_STRING.encode("", "agentphone", PLAIN) == ""
        refused(OPTIONAL_DIAL_STRING, " ")


class TestPhoneList:
    """Alternative numbers."""

    @given(number_lists)
    def test_they_are_read_back(self, value):
        """parse(encode(x)) == x, order included."""
        assert PHONE_LIST.decode(PHONE_LIST.encode(value, "alternatives", PLAIN), PLAIN) == tuple(value)

    def test_how_they_look(self):
        """The form on the vendor's page."""
        assert PHONE_LIST.encode(("099123456", "24001234"), "alternatives", PLAIN) == "099123456:24001234"

    @pytest.mark.parametrize("bad", [*SEPARATORS, *CONTROLS, "&", "/", " "])
    def test_a_number_that_would_become_two(self, bad):
        """Each number is held to the rules of a number, and the field is named."""
        assert refused(PHONE_LIST, ("24001234", f"099{bad}123456"), "alternatives").field == "alternatives"

    @pytest.mark.parametrize("value", [("",), ("24001234", "")])
    def test_an_empty_number(self, value):
        """An empty number would vanish, so it is refused."""
        assert "is empty" in refused(PHONE_LIST, value, "alternatives").reason

    def test_the_same_number_twice(self):
        """The dialer would call it twice."""
        assert "twice" in refused(PHONE_LIST, ("24001234", "099123456", "24001234"), "alternatives").reason

    @pytest.mark.parametrize("value", ["099123456", b"099", {"099": 1}, None, 99, {"099", "098"}, frozenset({"099"})])
    def test_what_is_no_list(self, value):
        """A text is no list of its letters, and a set has no order that a second run would find again."""
        with pytest.raises(InvalidRequest, match="alternatives: expected a list of numbers"):
            PHONE_LIST.snapshot(value, "alternatives")

    def test_a_snapshot_is_a_copy(self):
        """Lists and generators are read once, when the request is built."""
        given_ = ["099123456"]
        kept = PHONE_LIST.snapshot(given_, "alternatives")
        given_.append("24001234")
        assert kept == ("099123456",)
        assert PHONE_LIST.snapshot(iter(kept), "alternatives") == kept


class TestMask:
    """Numbers as they are shown: never their last four digits."""

    @given(numbers, st.text("0123456789", min_size=4, max_size=4))
    def test_the_last_four_digits_are_not_shown(self, number, others):
        """Two numbers that differ in their last four digits look the same, whatever stands between these."""
        digits = [place for place, character in enumerate(number) if character.isdigit()]
        assume(len(digits) >= 4)
        other = list(number)
        for place, digit in zip(digits[-4:], others, strict=True):
            other[place] = digit
        assert mask_phone(number) == mask_phone("".join(other))
        assert len(mask_phone(number)) == len(number)

    @given(st.text(max_size=30))
    def test_four_characters_at_least_are_hidden(self, text):
        """Whatever text is masked, it keeps a beginning and loses four characters or all."""
        shown = mask_phone(text)
        assert text.startswith(shown.rstrip("*")) or shown == "****"
        assert shown.endswith("****")

    @pytest.mark.parametrize(
        ("number", "shown"),
        [
            ("098344484", "09834****"),
            ("1001", "****"),
            ("12", "****"),
            ("", "****"),
            ("10011", "1****"),
            ("098-34-44-84", "098-34-*****"),
            ("09834448#4*", "09834******"),
            ("0983444+8-4-", "09834*******"),
            ("*#*#*#", "*#****"),
            ("12*#*#", "******"),
        ],
    )
    def test_how_it_looks(self, number, shown):
        """Examples by hand."""
        assert mask_phone(number) == shown

    @given(number_lists)
    def test_masked_lists_can_be_encoded(self, value):
        """A preview encodes what is masked: numbers that look alike are kept apart, in their places."""
        masked = PHONE_LIST.mask(value)
        assert len(PHONE_LIST.decode(PHONE_LIST.encode(masked, "alternatives", PLAIN), PLAIN)) == len(value)

    @given(st.lists(st.text("0123456789", min_size=6, max_size=6), min_size=1, max_size=12))
    def test_masked_lists_tell_no_last_digits(self, beginnings):
        """What is shown of a list depends on nothing but the beginnings."""
        shown = {PHONE_LIST.mask([number + end for number in beginnings]) for end in ("0000", "9999", "1234", "0001")}
        assert len(shown) == 1

    @given(numbers)
    def test_masked_numbers_can_be_encoded(self, number):
        """A preview encodes what is masked."""
        for format_ in (DIAL_STRING, OPTIONAL_DIAL_STRING):
            masked = format_.mask(number)
            assert format_.encode(masked, "destination", PLAIN) == masked
        assert OPTIONAL_DIAL_STRING.mask("") == ""

    @given(st.text())
    def test_a_secret_is_only_a_mask(self, text):
        """Not even its length is shown."""
        assert SECRET.mask(text) == "***"


class TestPrintable:
    """What is quoted in a message cannot forge a log line."""

    @given(st.text(), st.integers(0, 80))
    def test_all_of_it_is_printable(self, text, limit):
        """No control, no bidirectional override, no lone surrogate; cut at the limit, and marked where it is cut."""
        shown = printable(text, limit)
        assert shown.isprintable()
        shown.encode()
        assert shown.endswith("...") or len(text) <= limit

    @pytest.mark.parametrize(
        "strange", [*CONTROLS, "\u202a", "\u202e", "\u2066", "\u2069", "\u200f", "\u200b", "\ufeff"]
    )
    def test_what_is_escaped(self, strange):
        """Each is shown by its code."""
        shown = printable(f"a{strange}b")
        assert re.fullmatch(r"a(\\(x..|u....|[nrt]))+b", shown)
        assert "\\" in shown

    @given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=64))
    def test_what_is_harmless_stays(self, text):
        """Letters of any script are shown as they are."""
        assume(text.isprintable())
        assert printable(text) == text

    def test_it_is_cut(self):
        """A long text is cut before it is escaped, so a megabyte costs nothing."""
        assert printable("x" * 65) == "x" * 64 + "..."
        assert printable("\x00" * 10**6, 2) == "\\x00\\x00..."


class TestCampaign:
    """Campaigns carry their direction."""

    @given(campaigns)
    def test_it_is_sent_as_it_is(self, campaign):
        """parse(encode(x)) == x, for every kind of campaign field."""
        for format_ in (CAMPAIGN, ANY_CAMPAIGN, CAMPAIGN_OR_ALL):
            assert format_.decode(format_.encode(campaign, "campaign", PLAIN), PLAIN) == campaign

    def test_without_an_arrow(self):
        """The message shows both arrows; a server that has none is told so by its profile."""
        reason = refused(CAMPAIGN, "Ventas", "campaign").reason
        assert "->" in reason
        assert "<-" in reason
        assert CAMPAIGN.encode("Ventas", "campaign", Rules(campaign_arrows=False)) == "Ventas"
        assert ANY_CAMPAIGN.encode("Ventas", "campaign", PLAIN) == "Ventas"

    @pytest.mark.parametrize("format_", [CAMPAIGN, ANY_CAMPAIGN, CAMPAIGN_OR_ALL])
    @pytest.mark.parametrize("strange", [*SEPARATORS, *CONTROLS, "&", "/", ",", "%", "?", "'", '"', "\u202e", "|"])
    @pytest.mark.parametrize("shape", ["Ven{}tas->", "{}Ventas->", "Ventas->{}", "Ventas{}"])
    def test_strange_characters(self, format_, strange, shape):
        """Refused wherever they stand, arrows or not, and shown escaped."""
        error = refused(format_, shape.format(strange), "campaign", Rules(campaign_arrows=False))
        assert error.field == "campaign"
        assert str(error).isprintable()

    def test_empty_and_too_long(self):
        """A campaign is needed, and has up to 80 characters."""
        assert "is empty" in refused(CAMPAIGN, "", "campaign").reason
        assert CAMPAIGN.encode("x" * 78 + "->", "campaign", PLAIN)
        refused(CAMPAIGN, "x" * 79 + "->", "campaign")

    def test_no_campaign_where_it_is_optional(self):
        """An optional campaign may be empty; a given one needs its arrow all the same."""
        assert OPTIONAL_CAMPAIGN.encode("", "reschedule_campaign", PLAIN) == ""
        assert OPTIONAL_CAMPAIGN.encode("Ventas->", "reschedule_campaign", PLAIN) == "Ventas->"
        assert "arrow" in refused(OPTIONAL_CAMPAIGN, "Ventas", "reschedule_campaign").reason
        for format_ in (CAMPAIGN, ANY_CAMPAIGN, CAMPAIGN_OR_ALL):
            refused(format_, "", "campaign")

    def test_all_campaigns(self):
        """Only where the page says so, a star stands for all."""
        assert CAMPAIGN_OR_ALL.encode("*", "campaign", PLAIN) == "*"
        refused(ANY_CAMPAIGN, "*", "campaign")


class TestNames:
    """Names of agents and lists, and free text."""

    @given(names.filter(lambda name: len(name) <= 78))
    def test_names_are_sent_as_they_are(self, name):
        """parse(encode(x)) == x; the empty name is one."""
        for text in (name, "", name + "->"):
            assert NAME.decode(NAME.encode(text, "agent", PLAIN), PLAIN) == text

    @pytest.mark.parametrize("strange", [*SEPARATORS, *CONTROLS, "&", "/", ",", "\u202e", "|", "x" * 80])
    @pytest.mark.parametrize("shape", ["An{}a", "{}Ana", "Ana{}"])
    def test_strange_names(self, strange, shape):
        """Refused, naming the field and what a name may hold."""
        error = refused(NAME, shape.format(strange), "agent")
        assert error.field == "agent"
        assert "letters, digits" in error.reason
        assert str(error).isprintable()

    @pytest.mark.parametrize("value", [None, 0, False, b"", [], 1001])
    def test_what_is_no_name(self, value):
        """Something empty that is no text is not an empty name."""
        with pytest.raises(TypeError):
            NAME.encode(value, "agent", PLAIN)

    @given(safe_text)
    def test_free_text_is_sent_as_it_is(self, text):
        """parse(encode(x)) == x."""
        assert FREE_TEXT.decode(FREE_TEXT.encode(text, "source", PLAIN), PLAIN) == text

    @pytest.mark.parametrize("bad", CONTROLS)
    def test_free_text_is_one_line(self, bad):
        """Line breaks and control characters are refused."""
        assert refused(FREE_TEXT, f"a{bad}b", "source").field == "source"
        assert refused(FREE_TEXT, bad, "source").field == "source"

    @given(safe_text)
    def test_private_text_is_sent_and_not_shown(self, text):
        """A note on a customer goes out as it is; of what is shown only whether there is one can be seen."""
        assert PRIVATE_TEXT.decode(PRIVATE_TEXT.encode(text, "comment", PLAIN), PLAIN) == text
        assert PRIVATE_TEXT.mask(text) == ("***" if text else "")
        assert FREE_TEXT.mask(text) == text

    @pytest.mark.parametrize("bad", CONTROLS)
    def test_private_text_is_one_line(self, bad):
        """Line breaks and control characters are refused, and the text is not quoted."""
        assert "canary" not in str(refused(PRIVATE_TEXT, f"canary{bad}", "comment"))

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_a_secret_is_sent_as_it_is(self, text):
        """A password may hold anything: parse(encode(x)) == x."""
        assert SECRET.decode(SECRET.encode(text, "password", PLAIN), PLAIN) == text

    @pytest.mark.parametrize("half", [chr(0xD83D), chr(0xDCA9)])
    def test_half_a_character_in_a_secret(self, half):
        """It cannot be sent, so it is refused instead of left out; the secret is not quoted."""
        error = refused(SECRET, f"canary{half}", "password")
        assert error.field == "password"
        assert "canary" not in str(error)


class TestGuid:
    """What names a call."""

    @given(st.uuids())
    def test_a_uuid_is_sent_as_it_is(self, guid):
        """parse(encode(x)) == x."""
        assert GUID.decode(GUID.encode(str(guid), "guid", PLAIN), PLAIN) == str(guid)

    @pytest.mark.parametrize(
        "hostile",
        [
            *("", "1234567", "x" * 65, "../../etc/passwd", "//evil/12345678", "http://evil/x", "a" * 8 + "/b"),
            *("a" * 8 + bad for bad in [*SEPARATORS, *CONTROLS, ".", "%2f", "?", "#", " ", "\u202e", "é", "\uff11"]),
        ],
    )
    def test_what_could_leave_a_folder(self, hostile):
        """Nothing but letters, digits and dashes, 8 to 64 of them: it becomes part of a path."""
        error = refused(GUID, hostile, "guid")
        assert error.field == "guid"
        assert str(error).isprintable()

    def test_a_number_in_its_column(self):
        """What may be a telephone number in the wrong column is not quoted whole."""
        assert "8344484" not in str(refused(GUID, "8344484", "guid"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes() | st.binary(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text() | st.integers(), inside) | st.tuples(inside),
    max_leaves=5,
)


class TestJsonObject:
    """Parameters of a workflow."""

    @given(st.dictionaries(st.text(), json_values, max_size=3))
    def test_any_mapping_is_read_back_or_refused(self, value):
        """There is no third way: NaN does not become null, a date or a tuple nothing else."""
        try:
            kept = JSON_OBJECT.snapshot(value, "params")
        except InvalidRequest:
            return
        text = JSON_OBJECT.encode(kept, "params", PLAIN)
        assert JSON_OBJECT.decode(text, PLAIN) == kept == value
        assert not re.search(r"[\x00-\x1f]", text)

    def test_how_it_looks(self):
        """One line of JSON, nothing escaped that need not be."""
        text = JSON_OBJECT.encode({"id": "7", "note": "ñ\n", "n": [1, 2.5, None, True, {}]}, "params", PLAIN)
        assert text == '{"id":"7","note":"ñ\\n","n":[1,2.5,null,true,{}]}'

    @pytest.mark.parametrize(
        "item",
        [
            *(float("nan"), float("inf"), (1, 2), {1, 2}, {1: 2}, b"x", datetime(2026, 1, 1), chr(0xD800), object()),
            *([float("nan")], {"a": {"b": (1,)}}),
        ],
    )
    def test_what_json_does_not_carry(self, item):
        """It is refused when the request is built, and not quoted."""
        with pytest.raises(InvalidRequest, match="params: holds what JSON does not carry as it is"):
            JSON_OBJECT.snapshot({"x": item}, "params")

    @pytest.mark.parametrize("value", ["{}", b"{}", None, 7, [("id", "7")], {"id"}])
    def test_what_is_no_mapping(self, value):
        """Only a mapping becomes a snapshot."""
        with pytest.raises(InvalidRequest, match="params: expected a mapping"):
            JSON_OBJECT.snapshot(value, "params")

    def test_a_snapshot_is_a_copy_to_its_depth(self):
        """Any mapping is taken, and what happens inside it later is not seen."""
        inner = {"id": "7"}
        kept = JSON_OBJECT.snapshot(UserDict(inner=[inner]), "params")
        inner["id"] = "8"
        assert kept == {"inner": [{"id": "7"}]}

    def test_what_holds_itself(self):
        """A mapping without an end is refused."""
        endless = {}
        endless["self"] = endless
        with pytest.raises(InvalidRequest, match="params"):
            JSON_OBJECT.snapshot(endless, "params")

    @pytest.mark.parametrize("text", ["[]", "1", "{", "null", '"x"', "[" * 100_000, '{"a":' * 100_000, chr(0xD800), 5])
    def test_decoding_something_else(self, text):
        """On the wire anything but an object is a ValueError; nothing at all is an empty one."""
        with pytest.raises(ValueError, match=r"."):
            JSON_OBJECT.decode(text, PLAIN)
        assert JSON_OBJECT.decode("", PLAIN) == JSON_OBJECT.decode(None, PLAIN) == {}

    def test_values_are_masked(self):
        """Names stay, values go; the mask is still encodable."""
        assert JSON_OBJECT.mask({"id": 7, "inner": {"name": "Ana"}}) == {"id": "***", "inner": "***"}


class TestWholeNumbers:
    """Numbers and flags."""

    @given(st.integers(0, 2**31 - 1))
    def test_counts_are_read_back(self, number):
        """parse(encode(x)) == x, whether it comes back as a number or as text."""
        encoded = COUNT.encode(number, "contact", PLAIN)
        assert COUNT.decode(encoded, PLAIN) == COUNT.decode(str(encoded), PLAIN) == number

    @pytest.mark.parametrize(("format_", "number"), [(COUNT, -1), (COUNT, 2**31), (PRIORITY, 0), (PRIORITY, 10_000)])
    def test_out_of_range(self, format_, number):
        """The range is told."""
        error = refused(format_, number, "contact")
        assert error.field == "contact"
        assert f"{number} is not from" in error.reason

    def test_priority_1_is_reserved(self):
        """The page keeps 1 for scheduled calls, and the message says so."""
        assert "reserved for scheduled calls" in refused(PRIORITY, 1, "priority").reason
        assert [PRIORITY.encode(number, "priority", PLAIN) for number in (2, 9999)] == [2, 9999]

    @pytest.mark.parametrize("text", ["", "x", "1.5", 1.5, True, None, [], {}, "9" * 5000])
    def test_what_is_no_number(self, text):
        """Anything else on the wire is a ValueError, nothing worse."""
        with pytest.raises(ValueError, match=r"."):
            COUNT.decode(text, PLAIN)

    @pytest.mark.parametrize("flag", [True, False])
    def test_flags_are_read_back(self, flag):
        """parse(encode(x)) == x, whether it comes back as JSON or as text."""
        encoded = FLAG.encode(flag, "bulk", PLAIN)
        assert encoded is flag
        assert [FLAG.decode(text, PLAIN) for text in (encoded, str(flag), str(flag).lower(), str(int(flag)))] == [
            flag
        ] * 4

    @pytest.mark.parametrize("text", ["yes", "2", 2, 1.0, [], "none"])
    def test_what_is_no_flag(self, text):
        """Anything else on the wire is a ValueError."""
        with pytest.raises(ValueError, match="expected"):
            FLAG.decode(text, PLAIN)

    @pytest.mark.parametrize("value", [1, 0, "true", None])
    def test_flags_are_booleans(self, value):
        """A number is no flag, and a flag is no number."""
        with pytest.raises(TypeError):
            FLAG.encode(value, "bulk", PLAIN)
        with pytest.raises(TypeError):
            COUNT.encode(bool(value), "contact", PLAIN)


# Zone, first moment, length: by hand from the zones' laws, not computed.
GAPS = [
    ("America/Santiago", "2026-09-06 00:00:00", 60),
    ("America/Montevideo", "2014-10-05 02:00:00", 60),
    ("Europe/Madrid", "2026-03-29 02:00:00", 60),
    ("Australia/Lord_Howe", "2026-10-04 02:00:00", 30),
]
REPEATS = [
    ("America/Santiago", "2026-04-04 23:00:00", 60),
    ("America/Montevideo", "2015-03-08 01:00:00", 60),
    ("Europe/Madrid", "2026-10-25 02:00:00", 60),
    ("Australia/Lord_Howe", "2026-04-05 01:30:00", 30),
]


class TestJavaDate:
    """``java.util.Date`` as Gson writes it: three forms, one for each age of Java (protocol.md 0.12)."""

    @pytest.mark.parametrize(
        "text",
        [
            "Nov 2, 2018 11:31:42 AM",
            "Nov 2, 2018, 11:31:42 AM",
            "Nov 2, 2018, 11:31:42\u202fAM",
            " Nov 2, 2018 11:31:42 AM\n",
        ],
    )
    def test_the_forms_that_are_known(self, text):
        """Java 8, 9 and 20 all say the same moment, which has no zone."""
        assert parse_java_date(text) == datetime(2018, 11, 2, 11, 31, 42)

    @pytest.mark.parametrize(
        ("moment", "text"),
        [
            (datetime(2020, 2, 29), "Feb 29, 2020 12:00:00 AM"),
            (datetime(2020, 1, 9, 0, 59, 59), "Jan 9, 2020 12:59:59 AM"),
            (datetime(2020, 9, 30, 12, 0, 1), "Sep 30, 2020 12:00:01 PM"),
            (datetime(2020, 12, 31, 23, 5), "Dec 31, 2020 11:05:00 PM"),
        ],
    )
    def test_twelve_is_no_ordinary_hour(self, moment, text):
        """12 AM is midnight, 12 PM is noon."""
        assert parse_java_date(text) == moment
        assert format_java_date(moment) == text

    @given(st.datetimes(), st.sampled_from([8, 9, 17, 20, 21]))
    def test_what_is_written_is_read_back(self, moment, java):
        """parse(format(x)) == x to the second, for every form."""
        assert parse_java_date(format_java_date(moment, java)) == moment.replace(microsecond=0)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Nov 31, 2018 11:31:42 AM",
            "Feb 29, 2019 11:31:42 AM",
            "Nov 2, 2018 13:31:42 PM",
            "Nov 2, 2018 0:31:42 AM",
            "Nov 2, 2018 11:61:42 AM",
            "Nov 2, 0000 11:31:42 AM",
            "nov. 2, 2018 11:31:42 a. m.",
            "2 nov 2018 11:31:42",
            "Nov 2, 2018 11:31:42 AM and more",
            "Nov 2, 2018 \u0661\u0661:31:42 AM",
            "2018-11-02 11:31:42",
        ],
    )
    def test_anything_else_is_none(self, text):
        """No date of another locale is guessed, and none that does not exist."""
        assert parse_java_date(text) is None

    def test_the_locale_changes_nothing(self):
        """The names are the API's, not those of the machine we run on."""
        before = locale.setlocale(locale.LC_ALL)
        try:
            for name in ("es_UY.UTF-8", "es_ES.UTF-8", "pt_BR.UTF-8", "de_DE.UTF-8"):
                with contextlib.suppress(locale.Error):
                    locale.setlocale(locale.LC_ALL, name)
            assert format_java_date(datetime(2018, 8, 2, 15)) == "Aug 2, 2018 3:00:00 PM"
            assert parse_java_date("Aug 2, 2018 3:00:00 PM") == datetime(2018, 8, 2, 15)
        finally:
            locale.setlocale(locale.LC_ALL, before)


def instants_of(local, zone):
    """Return the moments at which the clocks of ``zone`` show ``local``: none, one or two."""
    around = [local.replace(tzinfo=UTC) + timedelta(hours=hours) for hours in (-26, 26)]
    offsets = {moment.astimezone(zone).utcoffset() for moment in around}
    moments = {(local - offset).replace(tzinfo=UTC) for offset in offsets}
    return {moment for moment in moments if moment.astimezone(zone).replace(tzinfo=None) == local}


class TestTimestamp:
    """Moments in the server's local time, which has no zone on the wire."""

    @given(st.datetimes(datetime(1990, 1, 2), datetime(2100, 1, 1)), st.sampled_from(ZONES), st.sampled_from([0, 1]))
    def test_naive_moments(self, value, name, fold):
        """A local time that clocks show once is sent as it is and read back; never and twice are refused."""
        zone = ZoneInfo(name)
        rules = Rules(zone)
        local = value.replace(microsecond=0)
        if len(instants_of(local, zone)) != 1:
            refused(TIMESTAMP, value.replace(fold=fold), "calldate", rules)
            return
        text = TIMESTAMP.encode(value.replace(fold=fold), "calldate", rules)
        assert text == str(local)
        assert TIMESTAMP.decode(text, rules) == local.replace(tzinfo=zone)

    @given(
        st.datetimes(datetime(1990, 1, 2), datetime(2100, 1, 1)),
        st.sampled_from(ZONES),
        st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), *map(ZoneInfo, ZONES)]),
        st.sampled_from([0, 1]),
    )
    def test_aware_moments(self, value, name, theirs, fold):
        """Any moment is written as the server's clocks show it and read back as the same moment, or refused."""
        zone = ZoneInfo(name)
        rules = Rules(zone)
        moment = value.replace(tzinfo=theirs, microsecond=0, fold=fold)
        local = moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
        if len(instants_of(local, zone)) == 2:
            assert "twice" in refused(TIMESTAMP, moment, "calldate", rules).reason
            return
        text = TIMESTAMP.encode(moment, "calldate", rules)
        assert text == str(local)
        assert TIMESTAMP.decode(text, rules).astimezone(UTC) == moment.astimezone(UTC)

    @given(st.datetimes(timezones=st.none() | st.just(UTC)), st.sampled_from([*ZONES, "Asia/Tokyo", "UTC"]))
    @example(datetime(9999, 12, 31, 23), "America/Montevideo")
    @example(datetime(1, 1, 1), "Asia/Tokyo")
    @example(datetime(9999, 12, 31, 23, tzinfo=UTC), "Asia/Tokyo")
    @example(datetime(1, 1, 1, tzinfo=UTC), "America/Montevideo")
    def test_any_moment_is_read_back_or_refused(self, value, name):
        """From year 1 to 9999 and at both ends: 19 characters or an InvalidRequest, never another error."""
        rules = Rules(ZoneInfo(name))
        text = attempt(TIMESTAMP, value, "calldate", rules)
        if isinstance(text, InvalidRequest):
            assert text.field == "calldate"
        else:
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text, re.ASCII)
            assert TIMESTAMP.encode(TIMESTAMP.decode(text, rules), "calldate", rules) == text

    @pytest.mark.parametrize(("name", "first", "minutes"), GAPS)
    def test_hours_that_the_clock_skips(self, name, first, minutes):
        """The first and the last second of the gap are refused; the second before it and the one after are not."""
        start, rules = datetime.fromisoformat(first), Rules(ZoneInfo(name))
        end = start + timedelta(minutes=minutes)
        for inside, fold in itertools.product((start, end - timedelta(seconds=1)), (0, 1)):
            assert "skips it" in refused(TIMESTAMP, inside.replace(fold=fold), "calldate", rules).reason
        for outside in (start - timedelta(seconds=1), end):
            assert TIMESTAMP.encode(outside, "calldate", rules) == str(outside)

    @pytest.mark.parametrize(("name", "first", "minutes"), REPEATS)
    def test_hours_that_come_twice(self, name, first, minutes):
        """One text, two moments: refused, also for an aware moment that could have known; its neighbours are not."""
        zone = ZoneInfo(name)
        start, rules = datetime.fromisoformat(first), Rules(zone)
        end = start + timedelta(minutes=minutes)
        for inside, fold in itertools.product((start, end - timedelta(seconds=1)), (0, 1)):
            aware = inside.replace(tzinfo=zone, fold=fold)
            for value in (inside.replace(fold=fold), aware, aware.astimezone(UTC)):
                assert "twice" in refused(TIMESTAMP, value, "calldate", rules).reason
        for outside in (start - timedelta(seconds=1), end):
            assert TIMESTAMP.encode(outside, "calldate", rules) == str(outside)

    def test_aware_moments_go_out_in_the_servers_zone(self):
        """Noon in Madrid is eight in the morning in Montevideo, in the winter of the north."""
        noon = datetime(2026, 1, 15, 12, tzinfo=ZoneInfo("Europe/Madrid"))
        assert TIMESTAMP.encode(noon, "calldate", Rules(ZoneInfo("America/Montevideo"))) == "2026-01-15 08:00:00"

    @pytest.mark.parametrize("year", [1, 42, 999])
    def test_early_years_are_padded(self, year):
        """Four digits for any year: a shorter one would be another text."""
        assert TIMESTAMP.encode(datetime(year, 2, 3), "calldate", Rules(UTC)) == f"{year:04}-02-03 00:00:00"

    def test_microseconds_are_cut(self):
        """The format has none; they are cut, not rounded into the next second."""
        assert TIMESTAMP.encode(datetime(2026, 1, 1, 0, 0, 0, 999_999), "calldate", Rules(UTC)) == "2026-01-01 00:00:00"

    @pytest.mark.parametrize("value", [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)])
    def test_without_a_zone_no_date(self, value):
        """The message names the parameter and the variable."""
        reason = refused(TIMESTAMP, value, "calldate").reason
        assert "timezone=" in reason
        assert "UCONTACT_TIMEZONE" in reason

    def test_a_missing_date(self):
        """None is refused where a date is needed, and sent as it is where it is not."""
        assert "is missing" in refused(TIMESTAMP, None, "calldate", Rules(UTC)).reason
        assert OPTIONAL_TIMESTAMP.encode(None, "calldate", Rules(UTC)) is None
        assert [OPTIONAL_TIMESTAMP.decode(text, PLAIN) for text in (None, "")] == [None, None]

    @pytest.mark.parametrize("value", ["2026-01-01 10:00:00", datetime(2026, 1, 1).date(), 1767261600, 1.5])
    def test_what_is_no_datetime(self, value):
        """A date without a time, a text and a number are of the wrong type."""
        with pytest.raises(TypeError):
            TIMESTAMP.encode(value, "calldate", Rules(UTC))

    def test_a_date_that_is_none(self):
        """What calls itself a datetime and cannot be converted (as NaT does) is refused like any other."""

        class Broken(tzinfo):
            def utcoffset(self, moment):
                raise ValueError("not a time")

        error = refused(TIMESTAMP, datetime(2026, 1, 1, tzinfo=Broken()), "calldate", Rules(UTC))
        assert error.field == "calldate"

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2026-01-15 08:30", datetime(2026, 1, 15, 8, 30)),
            ("2026-01-15 08:30:15", datetime(2026, 1, 15, 8, 30, 15)),
            ("2026-01-15T08:30:15", datetime(2026, 1, 15, 8, 30, 15)),
            (" 2026-01-15 08:30:15.000 ", datetime(2026, 1, 15, 8, 30, 15)),
            ("2026-01-15 08:30Z", datetime(2026, 1, 15, 8, 30, tzinfo=UTC)),
            ("2026-01-15 08:30:15 -03:00", datetime(2026, 1, 15, 11, 30, 15, tzinfo=UTC)),
            ("2026-01-15T08:30:15+0545", datetime(2026, 1, 15, 2, 45, 15, tzinfo=UTC)),
            ("0042-01-15 08:30", datetime(42, 1, 15, 8, 30)),
        ],
    )
    def test_what_is_read(self, text, moment):
        """Every form that the columns of a file may have."""
        read = parse_timestamp(text)
        assert read == moment
        assert (read.tzinfo is None) == (moment.tzinfo is None)

    @pytest.mark.parametrize(
        "text",
        [
            *("", "x", "2026-01-15", "2026-1-15 08:30", "15/01/2026 08:30", "2026-13-01 08:30", "2026-02-30 08:30"),
            *("2026-01-15 25:00", "2026-01-15 08:60", "2026-01-15 08", "2026-01-15  08:30", "20260115 0830"),
            *("2026-01-15 08:30:15.5", "2026-01-15 08:30 GMT", "2026-01-15 08:30+3", "2026-01-15 08:30\n09:30"),
            *(
                "0000-01-15 08:30",
                "\uff12\uff10\uff12\uff16-01-15 08:30",
                "2026-01-15_08:30",
                "2026-01-15 08:30+99:00",
                "2026-W03-4",
            ),
        ],
    )
    def test_what_is_not_read(self, text):
        """Everything else is nothing, not a guess."""
        assert parse_timestamp(text) is None

    def test_which_zone_is_read(self):
        """A moment of the wire is the server's local time; one that names an offset keeps it."""
        madrid = ZoneInfo("Europe/Madrid")
        assert TIMESTAMP.decode("2026-01-15 08:30:00", PLAIN).tzinfo is None
        assert TIMESTAMP.decode("2026-01-15 08:30:00", Rules(madrid)).tzinfo is madrid
        assert TIMESTAMP.decode("2026-01-15 08:30:00Z", Rules(madrid)) == datetime(2026, 1, 15, 8, 30, tzinfo=UTC)

    @given(st.text())
    def test_reading_never_fails_otherwise(self, text):
        """Any text is a moment or none."""
        assert parse_timestamp(text) is None or isinstance(parse_timestamp(text), datetime)

    @pytest.mark.parametrize("text", ["tomorrow", "2026-02-30 00:00:00", 5, 1.5, True, [], {}])
    def test_decoding_something_else(self, text):
        """On the wire anything else is a ValueError."""
        with pytest.raises(ValueError, match="expected"):
            TIMESTAMP.decode(text, PLAIN)

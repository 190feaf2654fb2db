"""The vendor's section "Recordings": wire names by hand, and every shape of answer that was seen or inferred."""

import contextlib
import random
import string
from datetime import datetime
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sound_requests import RULES

from ucontact_async.api.recordings import (
    ConvertRecording,
    FindRecordings,
    Recording,
    RecordingCalls,
    TagRecording,
    check_guid,
    parse_calldate,
)
from ucontact_async.errors import InvalidRequest, OutcomeUnknown, Rejected, UnreadableReply
from ucontact_async.settings import ServerProfile
from ucontact_async.wire import Answer, masked, read_answer

SINCE, UNTIL = datetime(2027, 5, 5), datetime(2027, 5, 5, 23, 59, 59)
GUID = "123e4567-e89b-42d3-a456-426614174000"


def sent(endpoint, request):
    return dict(parse_qsl(endpoint.encode(request, RULES).decode("ascii"), keep_blank_values=True))


def found(body, status=200):
    return read_answer(Answer(status, {}, body), RecordingCalls.find.reply, ServerProfile())


def tagged(body, status=200):
    return read_answer(Answer(status, {}, body), RecordingCalls.tag.reply, ServerProfile())


class TestWire:
    """What goes out, by the vendor's names (``protocol.md`` 3.1, 3.4)."""

    def test_find(self):
        """Three plain fields, and a filter of thirteen keys that are all text."""
        fields = sent(
            RecordingCalls.find, FindRecordings(since=SINCE, until=UNTIL, source="24001111", hour_range="9-12")
        )
        assert (fields.pop("lastrow"), fields.pop("searchLimit"), fields.pop("Random")) == ("0", "50", "1")
        ((name, text),) = fields.items()
        assert name == "filter"
        assert msgspec.json.decode(text) == {
            "calldatei": "2027-05-05 00:00:00",
            "calldatef": "2027-05-05 23:59:59",
            "agent": "",
            "campaign": "",
            "source": "24001111",
            "destination": "",
            "data": "",
            "range": "9-12",
            "rating": "",
            "mindur": "",
            "exclude": "",
            "type": "record",
            "cont": "",
        }

    def test_convert_and_tag(self):
        """Flat forms; a folder that is not known goes out empty."""
        assert sent(RecordingCalls.convert, ConvertRecording(guid=GUID)) == {"guid": GUID, "folder": ""}
        request = TagRecording(phone="099123456", guid=GUID, data="a&b=c")
        assert sent(RecordingCalls.tag, request) == {"phone": "099123456", "guid": GUID, "data": "a&b=c"}

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"page": 0}, "page"),
            ({"page": -1}, "page"),
            ({"after": -1}, "after"),
            ({"until": datetime(2027, 5, 4)}, "until"),
            ({"min_duration": "30s"}, "min_duration"),
            ({"at_least": "-1"}, "at_least"),
            ({"at_least": "٣"}, "at_least"),
            ({"source": "x"}, "source"),
            ({"exclude": "099,098"}, "exclude"),
            ({"campaign": "a&b"}, "campaign"),
            ({"tag": "a\nb"}, "tag"),
        ],
    )
    def test_what_find_refuses(self, changes, field):
        """A bad filter is refused by its name before anything is sent."""
        with pytest.raises(InvalidRequest) as caught:
            RecordingCalls.find.encode(FindRecordings(**{"since": SINCE, "until": UNTIL} | changes), RULES)
        assert caught.value.field == field

    @pytest.mark.parametrize("folder", ["2027-05-05", "../etc", "2027050", "202705055", " ", "\uff12027\uff10505"])
    def test_a_folder_is_eight_digits(self, folder):
        """Nothing else goes to the server as a folder."""
        with pytest.raises(InvalidRequest, match="folder"):
            RecordingCalls.convert.encode(ConvertRecording(guid=GUID, folder=folder), RULES)

    def test_what_is_hidden(self):
        """Numbers and what was said of a customer are not shown."""
        request = TagRecording(phone="099123456", guid=GUID, data="owes 400")
        assert masked(request) == {"phone": "09912****", "guid": GUID, "data": "***"}
        shown = repr(FindRecordings(since=SINCE, until=UNTIL, destination="099123456", tag="owes"))
        assert "123456" not in shown
        assert "owes" not in shown

    def test_a_conversion_has_time(self):
        """Converting blocks as long as the recording is: an attempt may take longer than others."""
        assert RecordingCalls.convert.prepare(ConvertRecording(guid=GUID), RULES).patience == 20
        assert RecordingCalls.tag.prepare(TagRecording(phone="11", guid=GUID, data=""), RULES).patience == 1


class TestGuid:
    """What can stand in a path and in a file name."""

    @pytest.mark.parametrize("guid", [GUID, "12345678", "A" * 64, "--------"])
    def test_sound(self, guid):
        """Letters, digits and hyphens, 8 to 64."""
        assert check_guid(guid) == guid

    @given(st.text() | st.none() | st.integers())
    def test_everything_else_is_refused(self, guid):
        """Whatever is not that is refused, and never with another error."""
        plain = (
            isinstance(guid, str) and 8 <= len(guid) <= 64 and set(guid) <= set(string.ascii_letters + "0123456789-")
        )
        if not plain:
            with pytest.raises(InvalidRequest):
                check_guid(guid)


class TestCalldate:
    """Both forms of a date, and the ways Java has written the second (``protocol.md`` 0.12)."""

    @pytest.mark.parametrize(
        "text",
        [
            "2018-11-02 11:31:42",
            "2018-11-02 11:31:42.0",
            "2018-11-02T11:31:42",
            "2018-11-02 11:31:42-03:00",
            "Nov 2, 2018 11:31:42 AM",
            "Nov 2, 2018, 11:31:42 AM",
            "Nov 2, 2018, 11:31:42\u202fAM",
            " Nov 02, 2018 11:31:42 AM ",
        ],
    )
    def test_read(self, text):
        """Every form is the same moment by the server's clock."""
        assert parse_calldate(text) == datetime(2018, 11, 2, 11, 31, 42)

    @pytest.mark.parametrize(
        ("hour", "half", "expected"), [(12, "AM", 0), (1, "AM", 1), (12, "PM", 12), (11, "PM", 23)]
    )
    def test_noon_and_midnight(self, hour, half, expected):
        """12 AM is midnight, 12 PM noon."""
        assert parse_calldate(f"Jan 1, 2027 {hour}:05:09 {half}") == datetime(2027, 1, 1, expected, 5, 9)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "soon",
            "Nov 31, 2018 1:00:00 AM",
            "Nov 2, 2018 0:00:00 AM",
            "Nov 2, 2018 13:00:00 PM",
            "Foo 2, 2018 1:00:00 AM",
            "2018-13-02 00:00:00",
            "2 Nov 2018",
            "Nov 2, 2018 1:60:00 AM",
            "Nov 2, 20181:00:00 AM",
        ],
    )
    def test_no_date(self, text):
        """What is no date is none, never a wrong one."""
        assert parse_calldate(text) is None


class TestAnswer:
    """What an answer means."""

    @pytest.mark.parametrize("body", [b"[]", b"0", b" [] \n", b"0\n"])
    def test_nothing_found(self, body):
        """An empty list and the number 0 both mean that there are no calls."""
        assert found(body) == ()

    def test_a_row_of_the_database(self):
        """The names of the table are read as ours, the rest is kept."""
        body = (
            rb'[{"id":7,"calldate":"2027-05-05 10:00:00.0","src":"1001","dst":"098344484","duration":65,"billsec":"60",'
            rb'"disposition":"ANSWERED","accountcode":"Ana","guid":"123e4567-e89b-42d3-a456-426614174000",'
            rb'"campaign":"Ventas-\u003e","rating":5,"direction":"out","note":"n"}]'
        )
        assert found(body) == (
            Recording(
                guid=GUID,
                calldate=datetime(2027, 5, 5, 10),
                source="1001",
                destination="098344484",
                campaign="Ventas->",
                agent="Ana",
                duration=65,
                billed=60,
                rating=5,
                disposition="ANSWERED",
                direction="out",
                extra={"id": 7, "note": "n"},
            ),
        )

    def test_other_names_and_cases(self):
        """The names of the filter are read as well, in any case; what cannot be read stays as it came."""
        (row,) = found(
            b'[{"GUID":"12345678","callDate":"soon","Source":"1","destination":2,"agent":"x","rating":"good"}]'
        )
        assert (row.guid, row.source, row.destination, row.agent) == ("12345678", "1", "2", "x")
        assert (row.calldate, row.rating, row.day) == (None, None, "")
        assert row.extra == {"callDate": "soon", "rating": "good"}

    def test_a_row_without_a_guid_is_shown(self):
        """It was found; that it cannot be fetched is said when somebody tries."""
        assert [row.guid for row in found(b'[{"dst":"1"},{"guid":null},{"guid":"../../etc/passwd"}]')] == [
            "",
            "",
            "../../etc/passwd",
        ]

    @pytest.mark.parametrize(
        "body", [b"", b"1", b"{}", b"null", b"[1]", b"[[]]", b"[null]", b"<html>", b"false", b'"0"', b"\xff"]
    )
    def test_what_is_no_answer(self, body):
        """Anything else is not taken for an empty list."""
        with pytest.raises(UnreadableReply):
            found(body)

    def test_no_text_makes_it_fail_otherwise(self):
        """Broken answers end in one of our errors."""
        sound = b'[{"guid":"12345678","calldate":"Nov 2, 2018 11:31:42 AM","duration":3}]'
        chance = random.Random(5)
        for _ in range(2000):
            broken = bytearray(sound)
            for _ in range(chance.randint(1, 5)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            with contextlib.suppress(OutcomeUnknown):
                found(bytes(broken))

    def test_it_is_written_as_it_is_read(self):
        """The emulator's side of the same contract."""
        rows = (Recording(guid=GUID, calldate=datetime(2027, 5, 5, 10), agent="Ana", duration=3, extra={"id": 1}),)
        assert found(RecordingCalls.find.reply.encode(rows)) == rows

    def test_what_a_recording_shows(self):
        """Numbers are hidden, and nothing of the rest is shown."""
        row = Recording(guid=GUID, source="099123456", destination="098344484", extra={"clid": "Ana Pérez"})
        assert "123456" not in repr(row)
        assert "44484" not in repr(row)
        assert "Ana" not in repr(row)

    @pytest.mark.parametrize(("status", "body"), [(200, b""), (204, b""), (200, b"\r\n")])
    def test_a_tag_is_answered_by_nothing(self, status, body):
        """Empty is success, whether the server says 200 or 204."""
        assert tagged(body, status) is None

    @pytest.mark.parametrize(
        ("status", "body", "error"),
        [
            (200, b"0", Rejected),
            (200, b"1", UnreadableReply),
            (200, b"<html>", UnreadableReply),
            (202, b"", UnreadableReply),
        ],
    )
    def test_what_else_a_tag_is_answered(self, status, body, error):
        """Anything else is not."""
        with pytest.raises(error):
            tagged(body, status)

    def test_other_endpoints_never_answer_204(self):
        """Only where nothing is the documented answer does 204 mean success."""
        with pytest.raises(UnreadableReply):
            read_answer(Answer(204, {}, b"1"), RecordingCalls.convert.reply, ServerProfile())

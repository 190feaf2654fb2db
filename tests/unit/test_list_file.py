"""The dialers' list file: what is written is read back, and no text becomes a second line, field, pair or number."""

import base64
import random
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async import ListRow, ListWriter, TypedNumber
from ucontact_async.errors import InvalidRequest
from ucontact_async.list_file import (
    FILE_CONTENT,
    FILE_NAME,
    USER_NAME,
    decode_file,
    decode_row,
    encode_row,
    read_number,
)
from ucontact_async.text import Rules

sys.path.insert(0, str(Path(__file__).parent))

import hostile_rows
from hostile_rows import BREAKS

RULES = Rules()


def a_row(**changes):
    return ListRow(**{"campaign": "Ventas->", "destination": "099123456", **changes})


def refused(row):
    with pytest.raises(InvalidRequest) as caught:
        encode_row(row, RULES)
    return caught.value


def attempt(build):
    """Return what ``build`` returns, or the refusal that it raises."""
    try:
        return build()
    except InvalidRequest as error:
        return error


def check_hostile_rows(count, seed):
    """Nothing is wrong, and of each kind some are refused and some are not."""
    for name, figures in hostile_rows.check(count, seed).items():
        assert not figures["wrong"], name
        assert min(figures["recovered"], figures["refused"]) > count / 10, f"{name}: too tame or too wild"


def test_hostile_rows():
    """The short form of the property."""
    check_hostile_rows(2_000, seed=1)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_very_many_hostile_rows():
    """The long form: 100,000 rows."""
    check_hostile_rows(100_000, seed=2)


class TestRow:
    """One line."""

    def test_how_it_looks(self):
        """The line of the page, every field filled, by hand."""
        row = a_row(
            destination=TypedNumber(kind="M", number="099123456", retries=2),
            data={"id": "7", "name": "Ana Pérez"},
            alternatives=[TypedNumber(kind="H", number="24001234"), "24005678"],
            priority=1,
            agentphone="1001",
        )
        line = "Ventas->;M=2=099123456;id=7:name=Ana Pérez;H=0=24001234:24005678;1;1001"
        assert encode_row(row, RULES) == line
        assert decode_row(line) == row

    def test_the_shortest(self):
        """What is not given is empty, the priority the lowest, and no agentphone leaves no field."""
        assert encode_row(a_row(), RULES) == "Ventas->;099123456;;;9999"

    @pytest.mark.parametrize("line", ["V->;0991;;;9999;", "V->;0991;a=;;1", "prueba1;0991;x=y;099:098;1;1001"])
    def test_lines_of_other_clients(self, line):
        """A trailing separator, an empty value, a campaign without its arrow: seen in the wild, and read."""
        assert decode_row(line).destination == "0991"

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "V->",
            "V->;0991;text;1",
            "V->;0991;;;9999;1001;",
            "V->;0991;;;0",
            "V->;0991;;;10000",
            "V->;0991;;;x",
            "V->;0991;;;",
            "V->;;;;1",
            "V->;09 91;;;1",
            "V->;X=0=0991;;;1",
            "V->;M=0991;;;1",
            "V->;P=0=0991;;;1",
            "V->;0991;;0991;1",
            "V->;0991;;H=x=0992;1",
            "V->;0991;;;1;ana",
            ";0991;;;1",
            "V->;0991;;;²",
        ],
    )
    def test_lines_that_no_server_can_use(self, line):
        """Too few or too many fields, no number, no priority: refused, and dropped from a file."""
        with pytest.raises(InvalidRequest):
            decode_row(line)
        assert decode_file(f"V->;0991;;;1\n{line}\r\nV->;0992;;;1\n".encode())[0] == [
            decode_row("V->;0991;;;1"),
            decode_row("V->;0992;;;1"),
        ]

    @pytest.mark.parametrize("bad", [*BREAKS, ";", ":", "="])
    @pytest.mark.parametrize(
        ("field", "build"),
        [
            ("data.note", lambda bad: a_row(data={"note": f"a{bad}b"})),
            ("destination", lambda bad: a_row(destination=f"099{bad}1")),
            ("destination", lambda bad: a_row(destination=TypedNumber(kind="M", number=f"099{bad}1"))),
            ("alternatives", lambda bad: a_row(alternatives=["24001234", f"099{bad}1"])),
            ("alternatives", lambda bad: a_row(alternatives=[TypedNumber(kind="P", number=f"099{bad}1")])),
            ("campaign", lambda bad: a_row(campaign=f"Ven{bad}tas->")),
            ("agentphone", lambda bad: a_row(agentphone=f"10{bad}01")),
        ],
    )
    def test_what_would_become_two(self, field, build, bad):
        """A separator or a line break in any of the texts is refused, naming the field."""
        error = refused(build(bad))
        assert error.field == field
        assert str(error).isprintable()

    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("campaign", {"campaign": ""}),
            ("campaign", {"campaign": "Ventas"}),
            ("destination", {"destination": ""}),
            ("destination", {"destination": None}),
            ("destination", {"destination": 99123456}),
            ("destination", {"destination": TypedNumber(kind="P", number="099123456")}),
            ("destination", {"destination": TypedNumber(kind="U", number="099123456")}),
            ("destination", {"destination": TypedNumber(kind="", number="099123456")}),
            ("destination", {"destination": TypedNumber(kind="M", number="099123456", retries=-1)}),
            ("destination", {"destination": TypedNumber(kind="M", number="099123456", retries="0")}),
            ("destination", {"destination": TypedNumber(kind="M", number=99123456)}),
            ("alternatives", {"alternatives": ["099123456"]}),
            ("alternatives", {"alternatives": ["099-123-456"]}),
            ("alternatives", {"alternatives": ["24001234", TypedNumber(kind="H", number="24001234")]}),
            ("alternatives", {"alternatives": [""]}),
            ("alternatives", {"alternatives": [None]}),
            ("priority", {"priority": 0}),
            ("priority", {"priority": 10_000}),
            ("priority", {"priority": "1"}),
            ("priority", {"priority": True}),
            ("agentphone", {"agentphone": "ana"}),
            ("agentphone", {"agentphone": None}),
            ("data.id", {"data": {"id": 7}}),
            ("data.", {"data": {"": "x"}}),
        ],
    )
    def test_what_no_row_can_be(self, field, changes):
        """Each rule names its field, and no message shows the end of a number."""
        error = refused(a_row(**changes))
        assert error.field == field
        assert "3456" not in str(error)

    @pytest.mark.parametrize("numbers", ["24001234", b"24001234", {"24001234"}, {"24001234": 1}, None, 5])
    def test_what_is_no_list_of_numbers(self, numbers):
        """A text is no list of its digits, and a set has no order."""
        with pytest.raises(InvalidRequest, match="alternatives"):
            a_row(alternatives=numbers)

    def test_an_empty_campaign_is_that_of_the_upload(self):
        """A row need not repeat it."""
        assert encode_row(a_row(campaign=""), RULES, campaign="Otra<-").startswith("Otra<-;")
        assert encode_row(a_row(), RULES, campaign="Otra<-").startswith("Ventas->;")

    def test_a_snapshot_is_a_copy(self):
        """What happens later to what was given is not seen."""
        data, numbers = {"id": "7"}, ["24001234"]
        row = a_row(data=data, alternatives=numbers)
        data["id"] = "8"
        numbers.append("24005678")
        assert encode_row(row, RULES) == "Ventas->;099123456;id=7;24001234;9999"
        assert msgspec.structs.replace(row) == row

    @pytest.mark.parametrize("wrong", [None, 7, b"x"])
    def test_what_is_shown(self, wrong):
        """Numbers and form data are hidden, also of a row that will be refused."""
        row = a_row(
            data={"name": "canary"},
            alternatives=["24001234", TypedNumber(kind="H", number="24005678")],
            agentphone="1001",
        )
        shown = (
            repr(row) + repr(a_row(destination=wrong, agentphone=wrong)) + str(TypedNumber(kind="M", number="24009999"))
        )
        assert not any(secret in shown for secret in ("3456", "1234", "5678", "1001", "canary", "9999)"))
        assert "Ventas->" in shown

    @given(st.text())
    def test_reading_a_number_never_fails_otherwise(self, text):
        """Any text is a plain number, a typed one, or refused without being quoted."""
        number = attempt(lambda: read_number(text, "destination"))
        if isinstance(number, InvalidRequest):
            assert "=" in text
            assert number.field == "destination"
        else:
            assert number == text if isinstance(number, str) else number.kind in "MWHPU"

    @given(st.binary(max_size=200))
    def test_any_file_can_be_read(self, content):
        """No bytes bring the reader down; every line is a row, nothing, or dropped."""
        rows, dropped = decode_file(content)
        assert len(rows) + dropped <= content.count(b"\n") + 1

    def test_an_old_file(self):
        """Bytes that are not UTF-8 are read as Windows-1252."""
        ((row,), dropped) = decode_file("V->;0991;n=Ñandú;;1".encode("cp1252"))
        assert (row.data, dropped) == ({"n": "Ñandú"}, 0)


class TestFormats:
    """What the two endpoints carry."""

    @pytest.mark.parametrize("name", ["a.csv", "list-0123abcdef.csv", "-_9.csv", "x" * 50 + ".csv", "lR.csv"])
    def test_names(self, name):
        """Letters, digits, _ and -, then .csv."""
        assert FILE_NAME.decode(FILE_NAME.encode(name, "name", RULES), RULES) == name

    @pytest.mark.parametrize(
        "name",
        [
            *("", ".csv", "a", "a.CSV", "R.csv", "resumen.csv", "x" * 51 + ".csv", "a b.csv", "../a.csv", "ñ.csv"),
            *("a.csv\n", "a\x00.csv", "a;b.csv", "a.csv.csv"),
        ],
    )
    def test_bad_names(self, name):
        """Anything else is refused, also what begins with R, which the portal does not take."""
        with pytest.raises(InvalidRequest, match="^name: "):
            FILE_NAME.encode(name, "name", RULES)

    @given(st.binary(min_size=1, max_size=300), st.integers(0, 3))
    def test_content_is_read_back(self, content, cut):
        """By the standard library, by us, and by a server to which the padding got lost."""
        sent = unquote_to_bytes(FILE_CONTENT.encode(content, "content", RULES)).decode()
        assert sent == base64.b64encode(content).decode()
        assert FILE_CONTENT.decode(sent.rstrip("="), RULES) == FILE_CONTENT.decode(f" {sent}\n", RULES) == content
        FILE_CONTENT.decode(sent[: len(sent) - cut], RULES)

    @given(st.text())
    def test_any_text_is_some_content(self, text):
        """A lenient server never fails on what it was sent."""
        assert isinstance(FILE_CONTENT.decode(text, RULES), bytes)

    @pytest.mark.parametrize("size", [49_151, 49_152, 49_153, 98_304, 100_000])
    def test_the_pieces_join(self, size):
        """A file longer than one piece is one base64."""
        content = random.Random(size).randbytes(size)
        sent = FILE_CONTENT.encode(content, "content", RULES)
        assert base64.b64decode(unquote_to_bytes(sent), validate=True) == content

    def test_an_empty_file(self):
        """There is no list without a row."""
        with pytest.raises(InvalidRequest, match="content: is empty"):
            FILE_CONTENT.encode(b"", "content", RULES)

    def test_the_user(self):
        """One that is given, else the client's; with neither it must be given."""
        assert USER_NAME.encode(None, "username", Rules(user="api")) == "api"
        assert USER_NAME.encode("ana", "username", Rules(user="api")) == "ana"
        assert USER_NAME.encode("", "username", Rules(user="api")) == ""
        with pytest.raises(InvalidRequest, match="give username"):
            USER_NAME.encode(None, "username", RULES)


class TestWriter:
    """Rows gathered into files with names of their own."""

    def test_splitting(self):
        """Every row is in one file, in order; only the last file is smaller."""
        rows = [a_row(destination=f"0990{n:05d}") for n in range(25)]
        files = list(ListWriter(campaign="Ventas->", rows_per_file=10).files(iter(rows)))
        assert [file.rows for file in files] == [10, 10, 5]
        assert [row for file in files for row in decode_file(file.content)[0]] == rows
        assert {file.campaign for file in files} == {"Ventas->"}
        assert len({file.name for file in files}) == 3

    @pytest.mark.parametrize(("rows", "files"), [(0, 0), (1, 1), (10, 1), (11, 2)])
    def test_the_edges(self, rows, files):
        """No rows, no file; a full one is not followed by an empty one."""
        made = ListWriter(campaign="V->", rows_per_file=10).files(a_row(destination=f"099{n}") for n in range(rows))
        assert len(list(made)) == files

    def test_the_same_rows_have_the_same_name(self):
        """A repeated upload is recognised; another row, order or stem gives another name."""
        rows = [a_row(destination=f"0990{n}") for n in range(5)]

        def name(rows, stem="list"):
            ((file,)) = ListWriter(campaign="Ventas->", name=stem).files(rows)
            return file.name

        assert name(rows) == name(list(rows))
        assert len({name(rows), name(rows[::-1]), name(rows[:4]), name(rows, "mayo")}) == 4
        assert FILE_NAME.encode(name(rows, "x" * 39), "name", RULES)

    def test_equal_files_have_names_of_their_own(self):
        """Where duplicates are allowed, two files of one upload may hold the same; again the same names come out."""

        def names():
            writer = ListWriter(campaign="Ventas->", rows_per_file=1, on_duplicate="allow")
            return [file.name for file in writer.files([a_row()] * 3)]

        assert len(set(names())) == 3
        assert names() == names()

    @pytest.mark.parametrize(
        "twin",
        [
            a_row(),
            a_row(campaign=""),
            a_row(destination="099-123-456"),
            a_row(destination=TypedNumber(kind="M", number="099123456"), data={"id": "8"}),
        ],
    )
    def test_the_same_number_twice(self, twin):
        """Two rows with campaign and destination in common are refused, unless that is allowed."""
        with pytest.raises(InvalidRequest, match="row 1: destination: is that of row 0"):
            list(ListWriter(campaign="Ventas->").files([a_row(), twin]))
        (file,) = ListWriter(campaign="Ventas->", on_duplicate="allow").files([a_row(), twin])
        assert file.rows == 2
        (file,) = ListWriter(campaign="Ventas->").files([a_row(), a_row(campaign="Otra->")])
        assert file.rows == 2

    def test_a_bad_row_is_named(self):
        """By its place in the input and its field."""
        with pytest.raises(InvalidRequest) as caught:
            list(ListWriter(campaign="Ventas->").files([a_row(), a_row(destination="0991", priority=0)]))
        assert caught.value.field == "row 1: priority"
        with pytest.raises(TypeError, match="row 0 is no ListRow but dict"):
            list(ListWriter(campaign="Ventas->").files([{}]))

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"name": "Resumen"}, "does not begin with R"),
            ({"name": "r"}, "does not begin with R"),
            ({"name": ""}, "1 to 39"),
            ({"name": "x" * 40}, "1 to 39"),
            ({"name": "a.b"}, "1 to 39"),
            ({"rows_per_file": 0}, "rows_per_file"),
            ({"rows_per_file": True}, "rows_per_file"),
            ({"on_duplicate": "skip"}, "on_duplicate"),
            ({"campaign": "Ventas"}, "arrow"),
        ],
    )
    def test_what_cannot_work(self, options, said):
        """Refused before the first row is taken."""
        from ucontact_async import UContactError

        with pytest.raises(UContactError, match=said):
            ListWriter(**{"campaign": "Ventas->", **options})

"""Reading CSV files: every cell comes back, every line that cannot be read is told, and memory stays where it is."""

import csv
import hashlib
import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.batch.sources import CsvSource, Row
from ucontact_async.errors import SettingsError

HEADER = "destination;calldate;data.name\n"


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def write_file(content, encoding="utf-8"):
        path = tmp_path / "contacts.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write_file


def rows_of(source):
    return [(row.number, *row.fields.values()) for row in source]


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_delimiter_and_encoding_are_found(write, delimiter, encoding):
    """The header tells the delimiter, the bytes of the whole file the encoding."""
    lines = ["destination;data.name", "090000001;Ñandú", '090000002;"a;b"']
    source = CsvSource(write("\n".join(lines).replace(";", delimiter), encoding))
    assert (source.delimiter, source.encoding, source.columns) == (delimiter, encoding, ("destination", "data.name"))
    assert rows_of(source) == [(2, "090000001", "Ñandú"), (3, "090000002", f"a{delimiter}b")]
    assert rows_of(source) == rows_of(source)


@pytest.mark.parametrize(
    ("content", "encoding", "told"),
    [
        ("a;b\n1;ñ\n", "utf-8-sig", "contacts.csv: UTF-8 with BOM, columns separated by ';'"),
        ("a\tb\n1\tñ\n", "cp1252", "contacts.csv: Windows-1252, columns separated by '\\t'"),
        ("a\n1\n", "utf-8", "contacts.csv: UTF-8, one column"),
    ],
)
def test_description(write, content, encoding, told):
    """What was found out is told in one line."""
    assert CsvSource(write(content, encoding)).describe() == told


def test_the_last_byte_decides_the_encoding(write):
    """An accent at the end of a large file is enough to know it for Windows-1252."""
    content = HEADER.encode() + b"090000001;2027-03-01 10:00;x\n" * 20_000 + "090000002;;Peñón".encode("cp1252")
    *_, last = CsvSource(write(content))
    assert last.fields["data.name"] == "Peñón"


def test_a_file_of_one_column(write):
    """A file of one column has no delimiter, and cells may hold any."""
    source = CsvSource(write("destination\n090000001\n0900;00002\n"))
    assert source.delimiter is None
    assert rows_of(source) == [(2, "090000001"), (3, "0900;00002")]


def test_excel_names_the_separator(write):
    """A first line ``sep=,`` names the delimiter and is no header."""
    source = CsvSource(write("sep=|\r\ndestination|a;b;c\r\n090000001|x\r\n"))
    assert source.columns == ("destination", "a;b;c")
    assert rows_of(source) == [(3, "090000001", "x")]


def test_what_is_given_is_taken_at_its_word(write):
    """A given encoding and delimiter are not guessed."""
    source = CsvSource(write("a#b;c\n1#ñ\n", "utf-16"), encoding="UTF-16", delimiter="#")
    assert source.columns == ("a", "b;c")
    assert rows_of(source) == [(2, "1", "ñ")]
    assert CsvSource(write("a;b\n", "utf-8-sig"), encoding="UTF8").columns == ("a", "b")


def test_rows_are_numbered_by_their_line(write):
    """A row has the number of the line on which it begins; blank lines and rows of bare separators are none."""
    source = CsvSource(write('\n a ; b \n\n1;"x\r\ny"\n;;\n ; \n2;z\r\n3;w\r4;v'))
    assert source.columns == ("a", "b")
    assert rows_of(source) == [(4, "1", "x\r\ny"), (8, "2", "z"), (9, "3", "w"), (10, "4", "v")]


def test_too_few_and_too_many_cells(write):
    """Missing cells are empty; a cell too many is a problem that keeps the text of the line."""
    short, long, after = CsvSource(write("a;b;c\n1;2\n1;2;3;4\n5;6;7\n"))
    assert short == Row(2, {"a": "1", "b": "2", "c": ""})
    assert (long.number, long.fields) == (3, {"a": "1;2;3;4"})
    assert long.problem == "has 4 cells, the header names 3"
    assert after == Row(4, {"a": "5", "b": "6", "c": "7"})


@pytest.mark.parametrize(
    "bad",
    ['1;"open;3', '1;2;"open', '1;"x"y;3', '1;2;3;"open', "1;\0;3", "1;2;" + "x" * 400_000, '1;"' + "x" * 131_072],
)
def test_a_line_that_cannot_be_read_costs_no_other(write, bad):
    """An open quote, a NUL or an endless cell is one problem; the lines after it are rows as ever."""
    rows = list(CsvSource(write(f"a;b;c\n1;2;3\n{bad}\n4;5;6\n7;8;9\n")))
    assert [(row.number, bool(row.problem)) for row in rows] == [(2, False), (3, True), (4, False), (5, False)]
    assert rows[2].fields == {"a": "4", "b": "5", "c": "6"}
    assert bad.startswith(rows[1].fields["a"][:100])


def test_a_quote_left_open_does_not_swallow_the_file(write):
    """An open quote in the first of many rows leaves all others readable, whatever csv's limit of a cell is."""
    path = write('a;b\n"1;2\n' + "3;4\n" * 50_000)
    before = csv.field_size_limit(2**31 - 1)
    try:
        rows = list(CsvSource(path))
    finally:
        csv.field_size_limit(before)
    assert [row.number for row in rows] == list(range(2, 50_003))
    assert [row.number for row in rows if row.problem and "more than 1000 lines" in row.problem] == [2]


def test_two_open_quotes_do_not_hide_the_rows_between_them(write):
    """Two open quotes make one cell of the lines between them: the row then lacks cells, and the lines are rows."""
    rows = list(CsvSource(write('a;b;c\n1;"x\n4;5;6\n7;8;"\n')))
    assert [(row.number, bool(row.problem)) for row in rows] == [(2, True), (3, False), (4, True)]
    assert rows[0].problem == "has 2 cells, the header names 3, and runs over 3 lines; is a quote left open?"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xff\xfea\x00", "UTF-16"),
        ("a;b".encode("utf-16-be"), "NUL"),
        (b"PK\x03\x04", "workbook"),
        (b"\xef\xbb\xbfa;b\n1;\xf1", "is not UTF-8 with BOM"),
        (b"a;b\n\x81\xff", "is not UTF-8 nor Windows-1252"),
        (b"a;b\n\xc3", None),
        (b"a;;c\n", "column 2 has no name"),
        (b"a;b;a\n", "two columns are named 'a'"),
        (b"090000001;Rio\n", "cell 1 looks like data"),
        (b"Rio;2027-03-01 10:00\n", "cell 2 looks like data"),
        (b'"a;b\n1;2\n', "does not name the columns"),
    ],
)
def test_a_file_that_is_no_csv_is_refused(write, content, complaint):
    """A file that is not what it should be is refused in a sentence, without any of its numbers."""
    if complaint is None:
        # A lone lead byte is a letter of Windows-1252.
        assert CsvSource(write(content)).encoding == "cp1252"
        return
    with pytest.raises(SettingsError, match=complaint) as caught:
        CsvSource(write(content))
    assert "contacts.csv" in str(caught.value)
    assert "090000001" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_refused(tmp_path):
    """A missing file, a directory and a pipe are refused before anything is read."""
    os.mkfifo(tmp_path / "pipe")
    for path, complaint in (("none.csv", "No such file"), (".", "directory"), ("pipe", "a pipe")):
        with pytest.raises(SettingsError, match=complaint):
            CsvSource(tmp_path / path)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that opens and cannot be read")  # noqa: PTH110
def test_a_file_that_breaks_off_is_told():
    """An error of the disk is an error of ours."""
    with pytest.raises(SettingsError, match="cannot be read: Input/output error"):
        CsvSource("/proc/self/mem")


@pytest.mark.parametrize(
    "options", [{"encoding": "nonsense"}, {"encoding": "base64"}, {"delimiter": ";;"}, {"delimiter": '"'}]
)
def test_options_that_make_no_sense_are_refused(write, options):
    """An unknown encoding and a delimiter that cannot be one are refused."""
    with pytest.raises(SettingsError):
        CsvSource(write(HEADER), **options)


def test_a_given_encoding_that_does_not_fit_is_refused(write):
    """A file that is not in the encoding that was named is refused, not read half."""
    with pytest.raises(SettingsError, match="is not UTF-8"):
        CsvSource(write("a;ñ\n", "cp1252"), encoding="utf-8")


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_file_that_changes_is_read_no_further(write, moment):
    """A row is never made of two versions of a file."""
    path = write("a;b\n" + "1;2\n" * 50_000)
    source = CsvSource(path)
    rows = iter(source)
    if moment == "during":
        next(rows)
    path.write_text("a;b\n" + "1;23\n" * 50_000)
    with pytest.raises(SettingsError, match="changed while it was read"):
        list(rows)


def test_a_file_that_is_gone_is_told(write):
    """A file that was taken away before its rows are read is an error of ours."""
    path = write(HEADER)
    source = CsvSource(path)
    path.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        list(source)


def test_the_digest_is_that_of_the_bytes(write):
    """The digest is a plain BLAKE2b of all bytes, so that anyone can check it."""
    content = HEADER.encode() + b"090000001;2027-03-01 10:00;x\n" * 10_000
    assert CsvSource(write(content)).digest == hashlib.blake2b(content, digest_size=16).hexdigest()


def test_a_row_shows_no_cell():
    """A row in a log shows its line and columns, never a number or a name."""
    row = Row(7, {"destination": "090000001", "data.name": "Peñón"}, None)
    assert repr(row) == "Row(7, {'destination': '***', 'data.name': '***'}, problem=None)"


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
WESTERN = st.text(st.sampled_from("aZ09ñÑáÜ €;,\t|\"'\r\n=:\x1f"), max_size=12)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
@given(data=st.data())
def test_what_a_writer_writes_is_read_back(tmp_path_factory, data, delimiter, encoding):
    """Any cells that Python's writer puts into a file come back equal, in every delimiter and encoding."""
    cell = WESTERN if encoding == "cp1252" else CELLS
    row = st.tuples(cell, cell, cell).filter(lambda cells: any(map(str.strip, cells)))
    written = data.draw(st.lists(row, max_size=6))
    path = tmp_path_factory.getbasetemp() / "property.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([("destination", "data.x", "ñ"), *written])
    source = CsvSource(path)
    assert source.delimiter == delimiter
    assert [tuple(row.fields.values()) for row in source] == written
    assert not any(row.problem for row in source)


def test_memory_does_not_grow_with_the_file(write):
    """A hundred thousand rows need no more memory than a hundred."""
    path = write(HEADER + "090000001;2027-03-01 10:00;Contacto Ñandú\n" * 100_000)
    tracemalloc.start()
    try:
        count = sum(1 for _ in CsvSource(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert peak < 2_000_000

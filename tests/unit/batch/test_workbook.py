"""Workbooks: sheets and cells as they are in Excel, numbers to dial refused by the name of their cell."""

import io
import zipfile
from datetime import date, datetime

import pytest

from ucontact_async import InvalidRequest, SettingsError
from ucontact_async.batch.operations import OPERATIONS, plan
from ucontact_async.batch.sources import CsvSource
from ucontact_async.batch.workbook import WorkbookSource, open_source
from ucontact_async.batch.workbook_size import TooLarge, check_size

pytest.importorskip("python_calamine", reason="python-calamine is not installed: python -m pip install python-calamine")
xlsxwriter = pytest.importorskip("xlsxwriter", reason="xlsxwriter is not installed: python -m pip install xlsxwriter")


@pytest.fixture
def book(tmp_path):
    """Write sheets of cells, by name, at an offset, and return the path."""

    def write(sheets, *, top=0, left=0):
        path = tmp_path / "contacts.xlsx"
        workbook = xlsxwriter.Workbook(path)
        dates = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm"})
        for name, rows in sheets.items():
            sheet = workbook.add_worksheet(name)
            for row, cells in enumerate(rows, top):
                for column, cell in enumerate(cells, left):
                    if isinstance(cell, date):
                        sheet.write_datetime(row, column, cell, dates)
                    elif isinstance(cell, str):
                        sheet.write_string(row, column, cell)
                    elif cell is not None:
                        sheet.write(row, column, cell)
        workbook.close()
        return path

    return write


HEADER = ["destination", "calldate", "data.id"]
WHEN = datetime(2099, 5, 5, 10, 0)


def planned(source):
    return plan(source.columns, OPERATIONS["schedule"], campaign="Ventas->")


def test_text_cells_become_requests(book):
    """Text is text, dates are dates, whole numbers in other columns are whole; rows have the sheet's numbers."""
    rows = [HEADER, ["098344484", WHEN, 7], [None] * 3, ["", "  ", ""], ["091000000", "2099-05-05 11:00", "C-1"]]
    source = open_source(book({"Hoja1": rows}, top=2, left=1))
    assert isinstance(source, WorkbookSource)
    assert source.describe() == "contacts.xlsx: sheet 'Hoja1', 3 columns"
    first, second = source
    assert (first.number, second.number, source.last) == (4, 7, 7)
    request = planned(source).request(first)
    assert (request.destination, request.calldate, request.data) == ("098344484", WHEN, {"id": "7"})
    assert planned(source).request(second).data == {"id": "C-1"}
    assert [row.number for row in source] == [4, 7]


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (98344484, "column|destination: cell C3 holds a number, where .* loses its leading zeros"),
        (WHEN, "destination: cell C3 holds a date"),
        (True, "destination: cell C3 holds a truth value"),
    ],
)
def test_a_number_to_dial_must_be_text(book, cell, told):
    """A cell that Excel keeps as a quantity is refused by its name, and the sentence says what to do."""
    source = open_source(book({"Hoja1": [HEADER, [cell, WHEN, 7]]}, top=1, left=2))
    with pytest.raises(InvalidRequest, match=told):
        planned(source).request(next(iter(source)))


def test_a_moment_is_a_whole_second(tmp_path):
    """A workbook keeps fractions of days: 10:00 less a hair is 10:00."""
    path = tmp_path / "contacts.xlsx"
    workbook = xlsxwriter.Workbook(path)
    sheet = workbook.add_worksheet()
    sheet.write_row(0, 0, HEADER[:2])
    sheet.write_string(1, 0, "098344484")
    serial = (WHEN - datetime(1899, 12, 30)).total_seconds() / 86_400 - 4e-8
    sheet.write_number(1, 1, serial, workbook.add_format({"num_format": "yyyy-mm-dd hh:mm"}))
    workbook.close()
    source = open_source(path)
    assert planned(source).request(next(iter(source))).calldate == WHEN


def test_far_columns_have_their_names(book):
    """Cells beyond Z are named as the sheet names them."""
    source = open_source(book({"Hoja1": [HEADER, [1, WHEN, "x"]]}, left=26 + 25))
    assert next(iter(source)).typed["destination"].startswith("cell AZ2 ")
    assert next(iter(source)).typed["calldate"].startswith("cell BA2 ")


def test_a_cell_without_a_name_is_a_problem(book):
    """What stands beyond the last named column cannot be read as a row."""
    source = open_source(book({"Hoja1": [HEADER, ["098344484", WHEN, "x", "stray"]]}))
    with pytest.raises(InvalidRequest, match="has a cell D2 beyond the last named column"):
        planned(source).request(next(iter(source)))


def test_one_of_several_sheets_must_be_named(book):
    """Empty sheets do not count; of two with cells none is guessed."""
    rows = [HEADER, ["098344484", WHEN, "x"]]
    path = book({"Hoja1": rows, "Vacía": [], "Otra": [HEADER]})
    with pytest.raises(SettingsError, match="several sheets: 'Hoja1', 'Vacía', 'Otra'; say which with --sheet"):
        open_source(path)
    assert len(list(open_source(path, sheet="Hoja1"))) == 1
    assert list(open_source(path, sheet="Otra")) == []
    assert open_source(path, sheet="Otra").digest != open_source(path, sheet="Hoja1").digest
    with pytest.raises(SettingsError, match="no sheet 'Vacía' with cells but 'Hoja1'"):
        open_source(path, sheet="Vacía")


def test_columns_need_names(book):
    """The header is held to the same law as that of a CSV file; formatted cells at its end do not count."""
    with pytest.raises(SettingsError, match="column 2 has no name"):
        open_source(book({"Hoja1": [["destination", "", "calldate"]]}))
    with pytest.raises(SettingsError, match="two columns are named 'a'"):
        open_source(book({"Hoja1": [["a", "a"]]}))
    assert open_source(book({"Hoja1": [["a", "b", " "]]})).columns == ("a", "b")


def test_cells_far_away_are_refused(book):
    """Two cells at the ends of a sheet would be laid out as 17 billion, which ends the process."""
    rows = [["destination", *[None] * 16_382, "x"], *[[]] * 1_048_574, [*[None] * 16_383, "y"]]
    with pytest.raises(SettingsError, match="reach over 17,179,869,184 places, more than 1,048,768"):
        open_source(book({"Hoja1": rows}))


def test_the_size_is_that_of_the_values(book):
    """Sheets add up, cells without a value do not count, and what no letters name follows the cell before it."""
    check_size(book({"Hoja1": [["a", "b"]], "Hoja2": [["a"], ["b"]]}).read_bytes(), most_cells=4)
    with pytest.raises(TooLarge, match="reach over 4 places, more than 3;"):
        check_size(book({"Hoja1": [["a", "b"]], "Hoja2": [["a"], ["b"]]}).read_bytes(), most_cells=3)
    bare = zipped(b'<row r="3"><c r="XFD3"/><c><v>1</v></c></row><x:row><x:c r="b4"><v/></x:c><x:c><v/></x:c></x:row>')
    with pytest.raises(TooLarge, match="reach over 32,768 places"):
        check_size(bare, most_cells=3)


@pytest.mark.parametrize("before", [0, (1 << 20) - 20, (1 << 20) - 8, (1 << 20) - 1])
def test_no_cell_hides(before):
    """A cell counts wherever a block of the file ends, and whatever stands in its other attributes."""
    sheet = b'<c r="A1"><v/></c>' + bytes(before) + b"""<c s='>' t="'>" r = 'XFD1048576' ><v/></c>"""
    with pytest.raises(TooLarge, match="reach over 17,179,869,184 places"):
        check_size(zipped(sheet))


@pytest.mark.parametrize(
    "cell", [b'<c r="AAAA1">', b'<c r="&#65;1">', b'<c r="A1" r="XFD1048576">', b"<c " + bytes(99_999)]
)
def test_a_cell_without_a_place_is_refused(cell):
    """What two readers could place differently is not read."""
    with pytest.raises(TooLarge, match="at no place of a sheet|no end"):
        check_size(zipped(cell))


def zipped(sheet, kind=zipfile.ZIP_DEFLATED, texts=None):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", kind) as file:
        file.writestr("xl/worksheets/sheet1.xml", sheet)
        if texts is not None:
            file.writestr("xl/sharedStrings.xml", texts)
    return held.getvalue()


@pytest.mark.parametrize("before", [0, (1 << 20) - 40, (1 << 20) - 20, (1 << 20) - 8, (1 << 20) - 1])
def test_a_text_counts_in_every_cell(before):
    """A text that many cells share is copied for each of them, wherever a block of the file ends."""
    texts = b"<sst><si><t>short</t></si>" + bytes(before) + b"<x:si ><t>" + b"9" * (1 << 20) + b"</t></x:si><si/></sst>"
    cells = b"".join(b'<row r="%d"><c r="A%d" t = "s"><v>1</v></c></row>' % (n, n) for n in range(1, 41))
    sheet = bytes(before) + cells + b'<c r="B1" t="s"><v>0</v></c><c r="B2"><v>1</v></c><c r="B3" t="s"><v/></c>'
    check_size(zipped(sheet, texts=texts), most_bytes=43 << 20)
    with pytest.raises(TooLarge, match="say more than 39 MB"):
        check_size(zipped(sheet, texts=texts), most_bytes=39 << 20)
    with pytest.raises(TooLarge, match="names no text"):
        check_size(zipped(b'<c r="A1" t="s"><v>&#49;</v></c>', texts=texts))


TABLE = (
    b'<table:table><table:table-row><table:table-cell office:value-type="string"><text:p>destination</text:p>'
    b'</table:table-cell></table:table-row><table:table-row table:number-rows-repeated="%d"><table:table-cell/>'
    b'<table:table-cell table:number-columns-repeated="%d" office:value="9"/></table:table-row>'
    b'<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16384" '
    b'table:style-name="value"/></table:table-row></table:table>'
)


def opened(content):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("content.xml", content)
    return held.getvalue()


@pytest.mark.parametrize("before", [0, (1 << 20) - 40, (1 << 20) - 200, (1 << 20) - 1])
def test_repeated_cells_count_as_often_as_they_are_repeated(before):
    """Rows and cells of an OpenDocument that are repeated are laid out; empty ones at the end are not."""
    check_size(opened(bytes(before) + TABLE % (1000, 30)), most_cells=4 * 1001 * 31)
    with pytest.raises(TooLarge, match="reach over 124,124 places, more than 124,123;"):
        check_size(opened(bytes(before) + TABLE % (1000, 30)), most_cells=4 * 1001 * 31 - 1)
    with pytest.raises(TooLarge, match="more than 33,554,432"):
        check_size(opened(TABLE % (20_000, 1000)))
    said = b'<table:table-row><table:table-cell table:number-columns-repeated="9"><p>' + b"9" * 99_999
    with pytest.raises(TooLarge, match="say more than"):
        check_size(opened(bytes(before) + said + bytes(before)), most_bytes=len(said) + 2 * before + 9)
    with pytest.raises(TooLarge, match="at no place"):
        check_size(opened(said.replace(b'"9"', b'"&#57;"')))


def test_a_bomb_is_not_unpacked():
    """What unpacks to more than is allowed is refused, also where its directory says that it is small."""
    bomb = zipped(bytes(3 << 20))
    with pytest.raises(TooLarge, match="unpacks to more than 2 MB"):
        check_size(bomb, most_bytes=2 << 20)
    lying = bomb.replace((3 << 20).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    with pytest.raises(TooLarge, match="unpacks to more than 2 MB"):
        check_size(lying, most_bytes=2 << 20)
    with pytest.raises(TooLarge, match="packed in a way"):
        check_size(zipped(b"x", zipfile.ZIP_BZIP2))


def test_what_is_no_workbook_is_told(tmp_path):
    """A broken one says so; CSV is read as CSV, and has no sheets."""
    broken = tmp_path / "broken.xlsx"
    broken.write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(SettingsError, match="cannot be read as a workbook"):
        open_source(broken)
    plain = tmp_path / "plain.csv"
    plain.write_text("destination\n1\n", encoding="utf-8")
    assert isinstance(open_source(plain), CsvSource)
    with pytest.raises(SettingsError, match="is no workbook"):
        open_source(plain, sheet="Hoja1")
    with pytest.raises(SettingsError, match="cannot be read"):
        open_source(tmp_path / "none.csv")

"""Rows from mappings: dicts of any origin become requests, numbers to dial must be text."""

import sys
from datetime import datetime

import pytest

from ucontact_async import InvalidRequest, SettingsError, Table

WHEN = datetime(2099, 5, 5, 10, 0)


def rows(*numbers):
    return [{"Telefono": number, "calldate": WHEN, "data.id": n} for n, number in enumerate(numbers)]


def table_of(mappings, **options):
    return Table(mappings, "schedule", campaign="Ventas->", mapping={"destination": "Telefono"}, **options)


def test_mappings_become_requests():
    """Each row is a request with your names for the columns, read one at a time."""
    read = []
    table = table_of(read.append(row) or row for row in rows("098344484", "091000000"))
    assert len(read) == 1
    requests = [table.request(row) for row in table]
    assert [request.destination for request in requests] == ["098344484", "091000000"]
    assert requests[1].data == {"id": "1"}
    assert requests[0].calldate == WHEN
    assert table.column_of("destination") == "Telefono"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"Telefono": 98344484, "calldate": WHEN}, "Telefono: holds a number, where a number to dial loses"),
        ({"Telefono": None, "calldate": WHEN}, "Telefono: is empty, and every row needs it"),
        ({"Telefono": "098344484", "calldate": WHEN.date()}, "calldate: '0000-00-00' .* is not YYYY-MM-DD HH:MM"),
        ({"Telefono": ["098344484"], "calldate": WHEN}, "column Telefono holds a list, which is no cell"),
        (
            {"Telefono": "098344484", "calldate": WHEN, "extra": 1},
            "has the column 'extra', which the first row has not",
        ),
    ],
)
def test_a_bad_row_is_told(row, told):
    """Row, column and what to do; the others go on."""
    table = table_of([{"Telefono": "1001", "calldate": WHEN}, row])
    good, bad = table
    assert table.request(good).destination == "1001"
    with pytest.raises(InvalidRequest, match=told):
        table.request(bad)


def test_what_cannot_be_a_table_is_refused():
    """An unknown operation, a missing column and rows that are no mappings are mistakes of the program."""
    with pytest.raises(SettingsError, match="one of schedule, respool"):
        Table([], "shedule")
    with pytest.raises(SettingsError, match="no column destination, dialerbase, contact but Tel; add"):
        Table([{"Tel": "1"}], "respool", campaign="a->")
    with pytest.raises(TypeError, match="iterable of mappings, got tuple"):
        Table([("1",)], "respool")
    assert list(table_of([])) == []


async def test_a_table_is_sent_as_it_is(emulator):
    """A bulk run takes a table where it takes requests, and outcomes name its rows."""
    from ucontact_async import UContact

    async with UContact(emulator.url, user="api", password="secret", timezone="America/Montevideo") as uc:
        report = await uc.bulk(table_of(rows("098344484", 91000000, "092000000")))
    assert (report.succeeded, report.reasons) == (2, {("skipped", "invalid"): 1})
    assert report.problems[0].position == "row 2"
    assert [entry.fields["destination"] for entry in emulator.ledger] == ["098344484", "092000000"]


FRAMES = {
    "polars": lambda library, data: library.DataFrame(data).iter_rows(named=True),
    "pandas": lambda library, data: library.DataFrame(data).to_dict("records"),
    "pyarrow": lambda library, data: library.Table.from_pylist(data).to_pylist(),
}


@pytest.mark.parametrize("name", FRAMES)
def test_rows_of_frames(name):
    """The rows of the usual libraries are such mappings: text stays, numbers are refused, what is missing is empty."""
    library = pytest.importorskip(name, reason=f"{name} is not installed: python -m pip install {name}")
    data = [
        {"Telefono": "098344484", "calldate": WHEN, "agentphone": None, "data.id": 1},
        {"Telefono": "091000000", "calldate": WHEN, "agentphone": "1001", "data.id": None},
    ]
    table = table_of(FRAMES[name](library, data))
    first, second = (table.request(row) for row in table)
    assert (first.destination, first.calldate, first.agentphone, first.data) == ("098344484", WHEN, "", {"id": "1"})
    assert (second.agentphone, second.data) == ("1001", {})
    numbers = table_of(FRAMES[name](library, [{"Telefono": 98344484, "calldate": WHEN}]))
    with pytest.raises(InvalidRequest, match="holds a number"):
        numbers.request(next(iter(numbers)))
    assert name in sys.modules

"""Files that people have, on the command line: workbooks, foreign column names, rejects mended in a spreadsheet."""

import csv
import json
import sys
import tomllib
from datetime import datetime
from urllib.request import urlopen

import pytest


def calls(url):
    with urlopen(f"{url}/_emulator/ledger", timeout=10) as answer:
        return {entry["fields"]["destination"]: entry["fields"] for entry in json.load(answer)}


FOREIGN = "Teléfono;Fecha;data.nota\n090000001;2099-05-05 10:00;+5\n0900 0002;2099-05-05 10:00;-1\n"


def test_names_of_columns_are_remembered_when_asked(schedule, url, tmp_path, capsys):
    """--remember keeps the names beside the file; its next run and that of its rejects need no --map."""
    file = tmp_path / "c.csv"
    file.write_text(FOREIGN, encoding="utf-8")
    names = ("--map", "destination=Teléfono", "--map", "calldate=fecha")
    assert schedule(file, "--dry-run") == 2
    assert "--map destination='Teléfono'" in capsys.readouterr().err
    assert schedule(file, *names, "--dry-run") == 1
    assert not (tmp_path / "c.csv.columns.toml").exists()
    assert schedule(file, *names, "--remember") == 1
    kept = tomllib.loads((tmp_path / "c.csv.columns.toml").read_text(encoding="utf-8"))
    assert kept == {"columns": {"calldate": "fecha", "destination": "Teléfono"}}
    assert schedule(file) == 1
    assert "1 skipped: done before" in capsys.readouterr().out
    rejects = tmp_path / "c.csv.rejects.csv"
    text = rejects.read_text(encoding="utf-8-sig")
    rejects.write_text(text.replace("0900 0002", "090000002"), encoding="utf-8-sig")
    assert schedule(rejects, "--journal", f"{file}.journal", "--amended") == 0
    assert {number: fields["data"] for number, fields in calls(url).items()} == {
        "090000001": "nota=+5",
        "090000002": "nota=-1",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("columns = 1", 'has lines such as destination = "Telefono" under [columns]'),
        ("[columns\n", "cannot be read"),
        ("[columns]\ncampana = 'x'", "has no column 'campana'; did you mean campaign?"),
        ("[columns]\ndestination = 'x'", "the file has no column 'x'"),
    ],
)
def test_wrong_memory_is_told(schedule, url, tmp_path, capsys, text, told):
    """What stands in the file of names is held to the same law as --map, and is named."""
    file = tmp_path / "c.csv"
    file.write_text(FOREIGN, encoding="utf-8")
    (tmp_path / "c.csv.columns.toml").write_text(text, encoding="utf-8")
    assert schedule(file) == 2
    assert told in capsys.readouterr().err
    assert calls(url) == {}


def test_remember_needs_something_to_remember(schedule, tmp_path, capsys):
    """--remember without any name says so."""
    file = tmp_path / "c.csv"
    file.write_text(FOREIGN, encoding="utf-8")
    assert schedule(file, "--remember") == 2
    assert "--remember keeps the names that --map gives" in capsys.readouterr().err


def test_a_wrong_name_is_not_remembered(schedule, tmp_path, capsys):
    """Names that the file does not have, or we, are refused once, and not kept to refuse every later run too."""
    file = tmp_path / "c.csv"
    file.write_text(FOREIGN, encoding="utf-8")
    for wrong in ("destinaton=Teléfono", "destination=Telefon"):
        assert schedule(file, "--map", wrong, "--map", "calldate=Fecha", "--remember", "--dry-run") == 2
    assert not (tmp_path / "c.csv.columns.toml").exists()
    capsys.readouterr()
    assert schedule(file, "--map", "destination=Teléfono", "--map", "calldate=Fecha", "--dry-run") == 1


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ("c.csv", "c.csv is used by this run itself"),
        ("folder/../c.csv.journal", "c.csv.journal is used by this run itself"),
        ("other.csv", "other.csv is there already and holds no rejects"),
        ("folder", "folder is there already and holds no rejects"),
        ("nowhere/rejects.csv", "nowhere/rejects.csv does not exist; create it"),
    ],
)
def test_a_report_is_written_over_nothing_but_rejects(schedule, url, tmp_path, capsys, report, told):
    """--report never ends the input, the journal or a file of somebody's, and what cannot be made is told at once."""
    file = tmp_path / "c.csv"
    file.write_text("destination;calldate\n090000001;2099-05-05 10:00\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.csv").write_text("mine", encoding="utf-8")
    before = {path: path.is_dir() or path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert schedule(file, "--report", tmp_path / report) == 2
    assert told in capsys.readouterr().err
    assert {path: path.is_dir() or path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == before
    assert calls(url) == {}


def test_rejects_survive_a_spreadsheet(schedule, url, tmp_path):
    """Saved again with commas, as a spreadsheet does, and mended in it, the rows are what they were."""
    file = tmp_path / "c.csv"
    file.write_text("destination;calldate;data.n\n0900 0002;2099-05-05 10:00;007\n", encoding="utf-8")
    assert schedule(file) == 1
    rejects = tmp_path / "c.csv.rejects.csv"
    with rejects.open(encoding="utf-8-sig", newline="") as text:
        header, row = csv.reader(text, delimiter=";")
    assert row[:3] == ["'0900 0002", "'2099-05-05 10:00", "'007"]
    row[0] = "090000002"  # typed over: the spreadsheet takes the apostrophe for its own
    with rejects.open("w", encoding="utf-8-sig", newline="") as text:
        csv.writer(text).writerows([header, row])
    assert schedule(rejects, "--journal", f"{file}.journal", "--amended") == 0
    assert calls(url)["090000002"]["data"] == "n=007"


def test_a_workbook_is_scheduled(schedule, url, tmp_path, capsys):
    """Text cells are sent, a number cell is refused by its name, and its row comes back refused until it is mended."""
    missing = "is not installed: python -m pip install"
    pytest.importorskip("python_calamine", reason=f"python-calamine {missing} python-calamine")
    writer = pytest.importorskip("xlsxwriter", reason=f"xlsxwriter {missing} xlsxwriter")
    file = tmp_path / "c.xlsx"
    workbook = writer.Workbook(file)
    dates = workbook.add_format({"num_format": "dd/mm/yyyy hh:mm"})
    sheet = workbook.add_worksheet("Hoja1")
    sheet.write_row(0, 0, ["Telefono", "calldate", "data.id"])
    for row, number in enumerate(["098344484", 98344485], 1):
        sheet.write(row, 0, number)
        sheet.write_datetime(row, 1, datetime(2099, 5, 5, 10), dates)
        sheet.write_number(row, 2, 7)
    workbook.add_worksheet("Otra").write(0, 0, "x")
    workbook.close()
    assert schedule(file) == 2
    assert "several sheets: 'Hoja1', 'Otra'; say which with --sheet" in capsys.readouterr().err
    arguments = ("--sheet", "Hoja1", "--map", "destination=Telefono", "--remember")
    assert schedule(file, *arguments) == 1
    assert list(calls(url)) == ["098344484"]
    assert calls(url)["098344484"]["calldate"] == "2099-05-05 10:00:00"
    rejects = tmp_path / "c.xlsx.rejects.csv"
    text = rejects.read_text(encoding="utf-8-sig")
    assert "Telefono: cell A3 holds a number, where a number to dial loses its leading zeros" in text
    again = ("--journal", f"{file}.journal", "--amended")
    assert schedule(rejects, *again) == 1
    assert "is no longer the number" in rejects.with_name("c.xlsx.rejects.csv.rejects.csv").read_text(
        encoding="utf-8-sig"
    )
    rejects.write_text(text.replace("98344485.0", "098344485"), encoding="utf-8-sig")
    assert schedule(rejects, *again) == 0
    assert calls(url)["098344485"]["data"] == "id=7"


def test_a_workbook_without_its_reader_says_what_to_install(tmp_path, capsys, monkeypatch, schedule):
    """Where the extra is missing the error names it."""
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    file = tmp_path / "c.xlsx"
    file.write_bytes(b"PK\x03\x04")
    assert schedule(file) == 2
    assert "python -m pip install 'ucontact-async[excel]'" in capsys.readouterr().err

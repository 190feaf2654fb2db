"""What is read from a disk: rows of CSV files and workbooks, settings in TOML, rules, mappings, token files, names."""

import atexit
import hashlib
import io
import os
import shutil
import tempfile
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from ucontact_async.api.recordings import Recording, check_guid
from ucontact_async.batch.cells import guarded, text_of, unguarded
from ucontact_async.batch.lists import UPLOAD
from ucontact_async.batch.operations import OPERATIONS, plan
from ucontact_async.batch.outcome import Outcome, Status
from ucontact_async.batch.report import Rejects
from ucontact_async.batch.rules.do_not_call import DoNotCall, NumberList
from ucontact_async.batch.rules.file import read_rules
from ucontact_async.batch.rules.numbers import Numbering
from ucontact_async.batch.rules.rules import Check
from ucontact_async.batch.sources import CsvSource, Row
from ucontact_async.batch.table import Table
from ucontact_async.batch.workbook import WorkbookSource, open_source
from ucontact_async.cli.mapping import mapping_of, remember
from ucontact_async.errors import InvalidRequest, SettingsError, escaped
from ucontact_async.recordings.folder import Folder
from ucontact_async.recordings.places import Places
from ucontact_async.settings import Secret, ServerProfile, Settings, origin_of, read_environment, zone_of
from ucontact_async.token_store import FileTokenStore

from .forms import AT, SOUND, ZONES, moment_of
from .target import DEEP, Draw, Target, expect, pick, reread
from .target import text_of as as_text

MEMORY = Path("/dev/shm")
FOLDER = Path(tempfile.mkdtemp(prefix="ucontact-fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
_MAKER = os.getpid()
ENCODINGS = (None, None, None, "utf-8", "cp1252", "utf-16", "utf-32", "utf-7", "shift_jis", "iso2022_jp", "idna")
ENCODINGS += ("punycode", "undefined", "rot13", "no such")


REGIONS = ((), ("UY",)) if find_spec("phonenumbers") else ((),)


@atexit.register
def _clean() -> None:
    if os.getpid() == _MAKER:
        shutil.rmtree(FOLDER, ignore_errors=True)


def file_of(data: bytes, name: str = "file") -> Path:
    """Return a file of this process, and for its owner only, that holds ``data``."""
    path = FOLDER / f"{os.getpid()}-{name}"
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    path.write_bytes(data)
    return path


def csv_rows(data: bytes) -> None:
    """A CSV file: rows in their order, twice the same, none without a place."""
    draw = Draw(data)
    encoding, delimiter = draw.choice(ENCODINGS), draw.byte()
    source = CsvSource(
        file_of(draw.rest(), "rows.csv"), encoding=encoding, delimiter=None if delimiter < 200 else chr(delimiter - 200)
    )
    expect(source.describe().isprintable(), "a description that forges a line")
    rows = list(source)
    expect(rows == reread(list, source), "read twice they are other rows")
    last = 0
    for row in rows:
        expect(last < row.number, "rows out of their order")
        expect({*row.fields} <= {*source.columns}, "a cell of no column")
        expect(row.problem is None or row.problem.isprintable(), "a problem that forges a line")
        last = row.number
        repr(row)


def rejects(data: bytes) -> None:
    """Rows that did not succeed: written for a spreadsheet and fed back in, they are the same."""
    draw = Draw(data)
    columns = tuple(f"c{place}" for place in range(1 + draw.byte() % 4))
    rows = [
        Row(number, {column: draw.text(SOUND).encode("utf-8", "replace").decode() for column in columns})
        for number in range(1, 2 + draw.byte() % 3)
    ]
    path = FOLDER / f"{os.getpid()}-rejects.csv"
    written = Rejects(path, columns)
    for row in rows:
        reason = escaped(draw.text())
        written.add(Outcome(index=0, status=Status.FAILED, row=row, reason=reason))
    written.close()
    if any("\0" in cell for row in rows for cell in row.fields.values()):
        return  # no CSV of ours is read with one in it
    fed = [row for row in CsvSource(path) if row.problem is None]
    cells = [[row.fields[column] for column in columns] for row in fed]
    expect(cells == [[*row.fields.values()] for row in rows], f"{cells} out of {rows}")


def cells(data: bytes) -> None:
    """A cell that is guarded from a spreadsheet is what it was afterwards; any value is a text."""
    draw = Draw(data)
    cell = as_text(draw.take(draw.byte()))
    expect(unguarded(guarded(cell)) == cell, "a cell is not what was written")
    expect(not guarded(cell)[:1] or guarded(cell)[0] not in "=+-@\t\r\n0123456789", "a cell that computes")
    value = draw.choice((draw.number(), moment_of(draw), moment_of(draw).time(), draw.number() / 7, None, True))
    expect(isinstance(text_of(value)[0], str), "a cell that is no text")


_CELLS = (*SOUND, "2027-05-05 10:00")
_GOOD = {"campaign": 0, "destination": 1, "calldate": 11, "dialerbase": 5, "contact": 8}


def _good_row(place: int, operation) -> bytes:
    cells = [pick(_GOOD[name], _CELLS) for name in operation.required]
    return bytes([place, 0, 0, AT["Ventas->"], *cells, *cells])


def rows_to_requests(data: bytes) -> None:
    """Any rows with any columns, through any operation: refused with a sentence, or a request."""
    draw = Draw(data)
    operation = draw.choice([*OPERATIONS.values(), UPLOAD])
    names = [*operation.required, *operation.optional, "data.id", "DATA.n", "row", "outcome", "reason"]
    columns = [draw.text(names) for _ in range(draw.byte() % 5)] + [*operation.required]
    mapping = {draw.text(names): draw.text(columns)} if draw.byte() % 4 == 3 else None
    planned = plan(dict.fromkeys(columns), operation, campaign=draw.text(("Ventas->",)) or None, mapping=mapping)
    for number in (1, 2):
        row = Row(number, {column: draw.text(_CELLS) for column in columns})
        repr(planned.request(row))


def tables(data: bytes) -> None:
    """Mappings of any values as rows."""
    draw = Draw(data)
    values = (draw.number(), draw.number() / 3, None, True, moment_of(draw), b"", [1], float("nan"), 1 << 70)
    rows = [
        {draw.choice(("campaign", "destination", "calldate", "x", 7, None)): draw.choice((draw.text(SOUND), *values))}
        | {"campaign": "Ventas->", "destination": "098344484", "calldate": "2027-05-05 10:00"}
        for _ in range(3)
    ]
    table = Table(rows, "schedule")
    for row in table:
        repr(row)
        try:
            table.request(row)
        except InvalidRequest as error:
            expect(str(error).isprintable(), "a message that forges a line")


_SHEET = (
    b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    b'<dimension ref="A1:B2"/><sheetData>'
    b'<row r="1"><c r="A1" t="inlineStr"><is><t>destination</t></is></c><c r="B1" t="s"><v>0</v></c></row>'
    b'<row r="2"><c r="A2" t="str"><v>098344484</v></c><c r="B2" s="1"><v>45000.5</v></c></row></sheetData></worksheet>'
)
_MAIN = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_RELS = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATED = b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">%b</Relationships>'


def _related(number: int, kind: bytes, target: bytes) -> bytes:
    return b'<Relationship Id="r%d" Type="%b/%b" Target="%b"/>' % (number, _RELS, kind, target)


_PARTS = {
    "_rels/.rels": _RELATED % _related(1, b"officeDocument", b"xl/workbook.xml"),
    "xl/_rels/workbook.xml.rels": _RELATED
    % (
        _related(1, b"worksheet", b"worksheets/sheet1.xml")
        + _related(2, b"styles", b"styles.xml")
        + _related(3, b"sharedStrings", b"sharedStrings.xml")
    ),
    "xl/workbook.xml": b'<workbook %b xmlns:r="%b"><sheets><sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>'
    % (_MAIN, _RELS),
    "xl/worksheets/sheet1.xml": _SHEET,
    "xl/sharedStrings.xml": b"<sst %b count='1' uniqueCount='1'><si><t>calldate</t></si></sst>" % _MAIN,
    "xl/styles.xml": b'<styleSheet %b><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs></styleSheet>'
    % _MAIN,
}


_FUZZED = ("xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/styles.xml", "xl/workbook.xml")


def workbook_of(changed: Mapping[str, bytes] = {}) -> bytes:
    """Return a workbook whose parts are good but for those ``changed``."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as book:
        for name, content in _PARTS.items():
            book.writestr(zipfile.ZipInfo(name), changed.get(name, content))
    return held.getvalue()


def workbooks(data: bytes) -> None:
    """A workbook one part of which is anything, or that is anything as a whole."""
    draw = Draw(data)
    part = draw.byte() % 5
    if part == 4:
        content = draw.choice((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")) + draw.rest()
    else:
        content = workbook_of({_FUZZED[part]: draw.rest()})
    source = WorkbookSource(file_of(content, "book.xlsx"))
    expect(source.describe().isprintable(), "a description that forges a line")
    for row in source:
        expect({*row.fields} <= {*source.columns}, "a cell of no column")
        repr(row)


def any_source(data: bytes) -> None:
    """Any file that a command is given: a workbook or not."""
    for row in open_source(file_of(data, "any")):
        repr(row)


def profile(data: bytes) -> None:
    """The profile of a server, and settings that go by it."""
    found = ServerProfile.read(file_of(data, "profile.toml"))
    Settings(url="https://acme.example", token=Secret("x"), profile=found).path("Agents/HungupPhone")
    expect(found.quarantine >= 600, "a quarantine that is too short")


def dial_rules(data: bytes) -> None:
    """The rules of the dial, and the question whether a call may ring."""
    rules = read_rules(file_of(data, "rules.toml"))
    repr(rules)
    Check(rules, zone=ZONES[0], now=lambda: datetime(2027, 5, 5, tzinfo=UTC))


def numbers_not_to_call(data: bytes) -> None:
    """A list of numbers that nobody may call: each line is one, or the list is refused."""
    draw = Draw(data)
    region = draw.choice(REGIONS)
    path = file_of(draw.rest(), "numbers.txt")
    now = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    numbers = NumberList(DoNotCall(path), Numbering(region), lambda: now)
    numbers.read()
    expect(not numbers.changed and numbers.old() is None, "a list that is old, or changed, as it is read")
    numbers.holds("098344484")


def remembered(data: bytes) -> None:
    """The columns that are remembered of a file, and those that are given, kept and read again."""
    draw = Draw(data)
    pairs = [f"{draw.text(SOUND)}={draw.text(SOUND)}" for _ in range(draw.byte() % 3)]
    pairs = [pair.encode("utf-8", "replace").decode() for pair in pairs]
    file = file_of(b"", "remembered.csv")
    file_of(draw.rest(), "remembered.csv.columns.toml")
    found = mapping_of(Namespace(file=file, map=pairs, remember=False))
    if found:
        reread(remember, Namespace(file=file, remember=True), found)
        again = reread(mapping_of, Namespace(file=file, map=[], remember=False))
        expect(again == found, "columns are not what was kept")


def settings(data: bytes) -> None:
    """An address, a zone and an environment, of any text."""
    draw = Draw(data)
    zone_of(draw.text(("UTC",)))
    names = ("UCONTACT_URL", "UCONTACT_USER", "UCONTACT_PASSWORD", "UCONTACT_TOKEN")
    found = read_environment({name: draw.text(("https://acme.example", "a")) for name in names})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        url = origin_of(found.pop("url", "https://acme.example:8443/Integra/"))
    expect(url.startswith(("https://", "http://")) and url.isprintable() and url.count("/") == 2, "no plain address")
    expect(url.startswith("http:") or not warned, "a warning of an address with TLS")
    secrets = {name: found.pop(name) for name in ("password", "token") if name in found}
    made = Settings(url=url, **found, **secrets)
    expect("Secret(***)" in repr(made), "a secret shows")


def token_file(data: bytes) -> None:
    """A token file as another process may have left it."""
    draw = Draw(data)
    path = file_of(draw.rest().replace(b"OWNER", _OWNER), "token")
    store = FileTokenStore(path, wall_clock=lambda: 1_800_000_000.0)
    _finish(store.join("owner"))
    try:
        stored = _finish(store.read())
        if stored is not None:
            Settings(url="https://acme.example", token=stored.value)
            expect(stored.age >= 0, "an age below zero")
            _finish(store.write(value=stored.value, generation=stored.generation + 1, deaths=stored.deaths))
            again = reread(lambda: _finish(store.read()))
            expect((again.value, again.generation) == (stored.value, stored.generation + 1), "a token is not kept")
    finally:
        _finish(store.leave())


_OWNER = hashlib.blake2b(b"owner", digest_size=16).hexdigest().encode()


def _finish(coroutine):
    """Run a coroutine that never waits, without a loop."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")


def places(data: bytes) -> None:
    """Where the recording of any guid and day lies: below the hosts that were given, in the folder that was given."""
    draw = Draw(data)
    guid, formats = draw.text(SOUND), ("mp3", "gsm")
    recording = Recording(guid=guid, calldate=moment_of(draw).replace(tzinfo=None))
    for candidate in Places(("https://a.example", "https://b.example")).of(recording, formats):
        path = candidate.url.removeprefix(candidate.host)
        expect(path.startswith("/records/") and path.count("/") <= 3, "another place")
        expect(
            ".." not in path and path.isascii() and path.isprintable() and not {*path} & {*"?#%\\@:"}, "a hostile path"
        )
    name = f"{check_guid(guid)}.mp3"
    expect(Folder(FOLDER).at(name) == str(FOLDER / name), "another folder")


def names(data: bytes) -> None:
    """Any name of a file: refused, or one that lies in the folder."""
    name = as_text(data)
    at = Folder(FOLDER).at(name)
    expect(Path(at).parent == FOLDER, "a name that leads elsewhere")


_CSV = b'destination;calldate;data.id\r\n098344484;2027-05-05 10:00;7\r\n"24001234";;\r\n'
_RULES = (
    b'zone = "America/Montevideo"\ncostly = "allow"\nholidays = [2027-01-01]\n[[windows]]\nbegin = "09:00"\n'
    b'end = "20:00"\ndays = "mon-fri"\n[[caps]]\ncalls = 3\nhours = 24.0\n'
)
_LIST = b'premium = ["0900"]\ndialable = ["09"]\n[[do_not_call]]\nfile = "none.txt"\nmax_age_days = 31\n'
_TOKEN = b'{"version":1,"owner":"OWNER","generation":1,"token":"YXBpOjEyM2U0NTY3","born":1.8e9,"deaths":0}'
_SETTINGS = (SettingsError,)
_BOTH = (SettingsError, InvalidRequest)
_USUAL = bytes(range(255, 191, -1))

TARGETS = (
    Target(
        "CSV rows",
        csv_rows,
        (
            b"\x00\x00" + _CSV,
            b"\x00\x00sep=,\na,b\n1,2",
            b'\x00\x00sep="\na,b\n1,2',
            b"\x00\x00\xef\xbb\xbfa\n1\n",
            b"\x05\x00" + "a;b\n1;2".encode("utf-16"),
        ),
        _SETTINGS,
        slow=True,
    ),
    Target("rejects", rejects, (b"\x01\xc1\x01\xc2\xc3" + _USUAL, b"\x00\x05=1+2;"), slow=True),
    Target("cells", cells, (b"\x03=1+\x10\x00abcdef", b"\x05'abcd")),
    Target(
        "rows to requests",
        rows_to_requests,
        (*map(_good_row, range(9), (*OPERATIONS.values(), UPLOAD)), b"\x00\x02" + _USUAL),
        _BOTH,
    ),
    Target("tables", tables, (b"\x10" * 40, _USUAL), _BOTH),
    Target(
        "workbooks",
        workbooks,
        (
            *(bytes([place]) + _PARTS[name] for place, name in enumerate(_FUZZED)),
            b"\x04\x00" + workbook_of()[4:],
        ),
        _SETTINGS,
        slow=True,
    ),
    Target("any file", any_source, (_CSV, workbook_of(), b"\xd0\xcf\x11\xe0"), _SETTINGS, slow=True),
    Target(
        "server profile",
        profile,
        (
            b'hangup = "HangupPhone"\nlateness = 30.0\nremoves_one_second = true\n',
            b"trust_503 = true",
            b"a = " + DEEP[0],
        ),
        _SETTINGS,
        slow=True,
    ),
    Target("rules of the dial", dial_rules, (_RULES, _LIST, b"a = " + DEEP[0]), _SETTINGS, slow=True),
    Target(
        "numbers not to call",
        numbers_not_to_call,
        (
            b"\x00phone;name\r\n098344484;Ana\r\n24 001-234\r\n",
            b"\x01+598 98 344 484\n# more\n0098344484",
            b"\x00\xff",
        ),
        _SETTINGS,
        slow=True,
    ),
    Target(
        "remembered columns",
        remembered,
        (b'\x01\xc1\xc2[columns]\ndestination = "Telefono"\n', b"\x00a = " + DEEP[0]),
        _SETTINGS,
        slow=True,
    ),
    Target("settings", settings, (_USUAL, b"\xc0\xc0\xc1\xc1\xc1", b"\x03UTC\x11http://[::1]:8080"), _SETTINGS),
    Target("token file", token_file, (b"\x00" + _TOKEN, b"\x00" + DEEP[1]), _SETTINGS, slow=True),
    Target(
        "places of a recording",
        places,
        (bytes([AT["5f3a1c9e-7b24-4d0f"], 16]) + b"abc", b"\x0e../../../../etc"),
        (InvalidRequest,),
    ),
    Target("names of files", names, (b"5f3a1c9e.mp3", b"../x", b"..", b""), (ValueError,)),
)

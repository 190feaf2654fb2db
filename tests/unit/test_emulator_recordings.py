"""Recorded calls of the emulator: filters, pages, files, conversion, tags; the two hosts over HTTP."""

import json
from datetime import datetime, timedelta

import aiohttp
import pytest

from ucontact_async.emulator import Emulator, RecordedCall, Switches
from ucontact_async.emulator.recordings import gsm_of, mp3_of

SINCE = "2027-05-05 00:00:00"
UNTIL = "2027-05-05 23:59:59"


@pytest.fixture
async def http():
    """A client that is not ours."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def centre():
    """An emulator with two hosts and twelve calls, an hour apart."""
    async with Emulator(backup=True) as running:
        fill(running)
        yield running


def fill(emulator):
    for number in range(12):
        record = RecordedCall(
            guid=f"guid-{number:04d}",
            calldate=datetime(2027, 5, 5, 8) + timedelta(hours=number),
            source="1001",
            destination=f"09900000{number % 3}",
            campaign="Ventas->" if number % 2 else "Cobros->",
            agent="Ana" if number < 6 else "Luis",
            duration=10 * number,
            rating=number % 5 or None,
        )
        emulator.state.records.add(record)


async def find(http, emulator, lastrow=0, limit=50, **filters):
    empty = dict.fromkeys(
        ["agent", "campaign", "source", "destination", "data", "range", "rating", "mindur", "exclude", "cont"], ""
    )
    chosen = {"calldatei": SINCE, "calldatef": UNTIL, **empty, "type": "record", **filters}
    form = {"lastrow": lastrow, "searchLimit": limit, "filter": json.dumps(chosen), "Random": 1}
    return await post(http, emulator, "Cdr/getrecords", form)


async def post(http, emulator, path, form):
    headers = {"Authorization": f"Basic {emulator.state.sessions.open('api')}"}
    async with http.post(f"{emulator.url}/Integra/resources/{path}", data=form, headers=headers) as response:
        return await response.text()


def numbers(text):
    return [int(row["guid"][-4:]) for row in json.loads(text)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, range(12)),
        ({"calldatei": "2027-05-05 09:00:00", "calldatef": "2027-05-05 11:00:00"}, [1, 2, 3]),
        ({"agent": "Luis"}, range(6, 12)),
        ({"campaign": "Ventas->"}, range(1, 12, 2)),
        ({"source": "1002"}, []),
        ({"destination": "099000001"}, [1, 4, 7, 10]),
        ({"rating": "3"}, [3, 8]),
        ({"mindur": "90"}, [9, 10, 11]),
        ({"exclude": "099000000"}, [1, 2, 4, 5, 7, 8, 10, 11]),
        ({"agent": "Ana", "mindur": "10", "cont": "2"}, [1, 2, 4, 5]),
        ({"range": "whatever"}, range(12)),
    ],
)
async def test_the_filters(http, centre, filters, expected):
    """Each documented filter leaves out what it should, the one without a published syntax nothing."""
    assert numbers(await find(http, centre, **filters)) == list(expected)


async def test_the_pages(http, centre):
    """Rows lastrow + 1 to lastrow + limit; behind the last there is nothing."""
    assert numbers(await find(http, centre, 0, 5)) == [0, 1, 2, 3, 4]
    assert numbers(await find(http, centre, 10, 5)) == [10, 11]
    assert numbers(await find(http, centre, 12, 5)) == []


async def test_a_server_that_ignores_lastrow(http):
    """The switch has it answer its first page for ever."""
    async with Emulator(switches=Switches(ignores_lastrow=True)) as emulator:
        fill(emulator)
        assert numbers(await find(http, emulator, 10, 5)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("java", "first", "fifth"),
    [
        (False, "2027-05-05 08:00:00.0", "2027-05-05 12:00:00.0"),
        (True, "May 5, 2027 8:00:00 AM", "May 5, 2027 12:00:00 PM"),
    ],
)
async def test_the_dates(http, java, first, fifth):
    """Dates come as the database writes them, or as Java does."""
    async with Emulator(switches=Switches(java_dates=java)) as emulator:
        fill(emulator)
        rows = json.loads(await find(http, emulator))
    assert (rows[0]["calldate"], rows[4]["calldate"]) == (first, fifth)
    assert "rating" not in rows[0]


@pytest.mark.parametrize("filters", [{"mindur": "x"}, {"cont": "²"}, {"calldatei": "2027-05-05 00:00:00+00:00"}])
async def test_a_filter_that_cannot_be_read_is_refused(http, centre, filters):
    """It answers 0, as it does to all that it cannot read."""
    assert await find(http, centre, **filters) == "0"


async def test_a_tag_is_found(http, centre):
    """A tagged call is found by its tag, until a reset; the call itself stays."""
    form = {"phone": "099000000", "guid": "guid-0003", "data": "buena venta"}
    assert await post(http, centre, "Agents/TagRecord", form) == ""
    assert numbers(await find(http, centre, data="venta")) == [3]
    assert centre.snapshot()["tags"] == {"guid-0003": ["buena venta"]}
    centre.reset()
    assert numbers(await find(http, centre, data="venta")) == []
    assert len(numbers(await find(http, centre))) == 12


async def get(http, url, method="GET", **options):
    async with http.request(method, url, allow_redirects=False, **options) as response:
        return response.status, await response.read()


async def test_files_lie_where_they_were_put(http, centre):
    """A day's folder or none, this host or its backup; a HEAD tells the length."""
    add = centre.state.records.add
    record = RecordedCall(guid="12345678", calldate=datetime(2027, 5, 5))
    add(record)
    add(record, folder="", host="backup", formats=("gsm",))
    assert await get(http, f"{centre.url}/records/20270505/12345678.mp3") == (200, mp3_of("12345678"))
    assert await get(http, f"{centre.backup_url}/records/12345678.gsm") == (200, gsm_of("12345678"))
    for elsewhere in (
        f"{centre.url}/records/12345678.mp3",
        f"{centre.url}/records/12345678.gsm",
        f"{centre.backup_url}/records/20270505/12345678.mp3",
        f"{centre.backup_url}/_emulator/state",
    ):
        assert (await get(http, elsewhere))[0] == 404
    async with http.head(f"{centre.url}/records/20270505/12345678.mp3") as response:
        assert (response.status, response.content_length) == (200, len(mp3_of("12345678")))
    assert (await get(http, f"{centre.url}/records/20270505/12345678.mp3", "POST"))[0] == 405
    assert (await get(http, f"{centre.backup_url}/Integra/resources/Supervisor/convert", "POST"))[0] == 404


@pytest.mark.parametrize(("folder", "asked", "appears"), [(None, "20270505", True), (None, "", False), ("", "", True)])
async def test_a_conversion_makes_the_mp3_appear(http, centre, folder, asked, appears):
    """It appears beside the gsm, if that is where the request says; twice is the same as once; a reset undoes it."""
    centre.state.records.add(
        RecordedCall(guid="12345678", calldate=datetime(2027, 5, 5)), formats=("gsm",), folder=folder
    )
    mp3 = f"{centre.url}/records/{'20270505/' if folder is None else ''}12345678.mp3"
    for _ in range(2):
        assert await post(http, centre, "Supervisor/convert", {"guid": "12345678", "folder": asked}) == "1"
        assert ((await get(http, mp3))[0] == 200) is appears
    centre.reset()
    assert (await get(http, mp3))[0] == 404


async def test_files_may_need_a_token(http):
    """Where the switch says so, only who is logged in gets a file."""
    async with Emulator(switches=Switches(records_need_token=True)) as emulator:
        emulator.state.records.add(RecordedCall(guid="12345678", calldate=datetime(2027, 5, 5)))
        url = f"{emulator.url}/records/20270505/12345678.mp3"
        assert (await get(http, url))[0] == 401
        token = emulator.state.sessions.open("api")
        assert (await get(http, url, headers={"Authorization": f"Basic {token}"}))[0] == 200


@pytest.mark.parametrize(
    ("fault", "heard"),
    [
        ({"fault": "status", "status": 302, "headers": {"Location": "/x"}}, 302),
        ({"fault": "body"}, 200),
        ({"fault": "latency", "seconds": 0.01}, 200),
        ({"fault": "truncated"}, aiohttp.ClientPayloadError),
        ({"fault": "close_after_read"}, aiohttp.ClientError),
        ({"fault": "reset_before_read"}, (aiohttp.ClientError, OSError)),
        ({"fault": "refuse", "seconds": 0.05}, (aiohttp.ClientError, OSError)),
        ({"fault": "hang_before_apply"}, TimeoutError),
    ],
)
async def test_the_faults_of_a_file(http, centre, fault, heard):
    """The faults of calls strike files too, by their path; the half of a file is announced as the whole."""
    centre.set_faults({"rules": [{"endpoint": "records/*", **fault}]})
    ask = get(http, f"{centre.url}/records/20270505/guid-0001.mp3", timeout=aiohttp.ClientTimeout(total=0.3))
    if isinstance(heard, int):
        assert (await ask)[0] == heard
    else:
        with pytest.raises(heard):
            await ask


def test_the_mp3_is_sound():
    """A title, then frames that follow each other to the last byte, each with the same header."""
    content = mp3_of("12345678")
    assert content[:5] == b"ID3\x03\x00"
    length = int.from_bytes(bytes(4), "big")
    for byte in content[6:10]:
        length = length << 7 | byte
    frames = content[10 + length :]
    assert b"12345678" in content[10 : 10 + length]
    # 11 bits of sync, MPEG-2, layer III, no CRC; 8 kbit/s and 16 kHz are 72 * 8000 / 16000 = 36 bytes a frame.
    assert len(frames) % 36 == 0
    assert {frames[at : at + 4] for at in range(0, len(frames), 36)} == {b"\xff\xf3\x18\xc4"}


def test_the_gsm_is_sound():
    """Frames of 33 bytes that begin with the signature of the format; other calls have other lengths."""
    content = gsm_of("12345678")
    assert len(content) % 33 == 0
    assert {content[at] >> 4 for at in range(0, len(content), 33)} == {0xD}
    assert len(gsm_of("12345679")) != len(content)

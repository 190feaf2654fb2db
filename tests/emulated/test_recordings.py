"""Recordings: searched page by page, found in their places, landed whole in a folder and nowhere else."""

import asyncio
import contextlib
import errno
import os
import secrets
import stat
import string
import time
import traceback
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from ucontact_async import (
    DownloadReport,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotSent,
    Recording,
    Refused,
    Rejected,
    ReplyLost,
    ServerFault,
    SettingsError,
    UContact,
    UContactError,
    Unauthorized,
    UnreadableReply,
)
from ucontact_async.emulator import Emulator, RecordedCall, Switches
from ucontact_async.emulator.recordings import gsm_of, mp3_of
from ucontact_async.recordings.folder import Arrival, Folder, in_thread

DAY = datetime(2027, 5, 5)
GUID = "123e4567-e89b-42d3-a456-426614174000"
ONE = Recording(guid=GUID, calldate=DAY)


@pytest.fixture
async def centre():
    """An emulator with two hosts of recordings."""
    async with Emulator(backup=True) as running:
        yield running


@pytest.fixture
async def uc(centre):
    """A client that knows both."""
    async with client_of(centre) as client:
        yield client


def client_of(emulator, **options):
    known = {"user": "api", "password": "secret", "timezone": "America/Montevideo"}
    if emulator.backup_url[-2:] != ":0":
        known["backup_records"] = emulator.backup_url
    return UContact(emulator.url, **known | options)


def put(emulator, guid=GUID, **where):
    emulator.state.records.add(RecordedCall(guid=guid, calldate=DAY), **where)


def fill(emulator, count):
    for number in range(count):
        emulator.state.records.add(RecordedCall(guid=f"guid-{number:06d}", calldate=DAY + timedelta(seconds=number)))


def asked(emulator):
    """Return the paths of files that were asked for, in the order of the first time."""
    return [path.removeprefix("records/") for path in emulator.ledger.requests if path.startswith("records/")]


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


async def search(uc, **options):
    return [found async for found in uc.recordings.search(since=DAY, until=DAY + timedelta(days=1), **options)]


class TestSearch:
    """All recorded calls, each once, and an end."""

    @pytest.mark.parametrize(
        ("count", "page", "requests"), [(0, 50, 1), (7, 50, 1), (50, 50, 2), (120, 50, 3), (9, 3, 4), (5, 1, 6)]
    )
    async def test_page_by_page(self, centre, uc, count, page, requests):
        """Every call is yielded once, in order; a page that is not full is the last."""
        fill(centre, count)
        assert [found.guid for found in await search(uc, page=page)] == [f"guid-{n:06d}" for n in range(count)]
        assert centre.ledger.requests["Cdr/getrecords"] == requests

    async def test_lazily(self, centre, uc):
        """A page is asked for when its first call is wanted."""
        fill(centre, 100)
        found = uc.recordings.search(since=DAY, until=DAY + timedelta(days=1), page=10)
        assert centre.ledger.requests["Cdr/getrecords"] == 0
        for _ in range(10):
            await anext(found)
        assert centre.ledger.requests["Cdr/getrecords"] == 1
        await found.aclose()

    async def test_a_server_that_ignores_lastrow(self):
        """The same page again brings nothing new, so it is the last."""
        async with Emulator(switches=Switches(ignores_lastrow=True)) as centre, client_of(centre) as uc:
            fill(centre, 100)
            assert len(await search(uc, page=10)) == 10
            assert centre.ledger.requests["Cdr/getrecords"] == 2

    async def test_calls_recorded_meanwhile(self, centre, uc):
        """New rows before those that were seen shift the pages; no call is yielded twice."""
        fill(centre, 30)
        guids = []
        async for found in uc.recordings.search(since=DAY, until=DAY + timedelta(days=1), page=10):
            guids.append(found.guid)
            if len(guids) in (3, 15):
                centre.state.records.rows.insert(0, RecordedCall(guid=f"new-{len(guids):06d}", calldate=DAY))
        assert len(set(guids)) == len(guids)
        assert {f"guid-{n:06d}" for n in range(30)} <= set(guids)

    async def test_nothing_found_may_be_0(self, centre, uc):
        """The number 0 ends the search as an empty list does."""
        fill(centre, 10)
        centre.set_faults({"rules": [{"endpoint": "Cdr/*", "fault": "body", "body": "0", "after": 1}]})
        assert len(await search(uc, page=5)) == 5

    @pytest.mark.parametrize("java", [False, True])
    async def test_both_forms_of_a_date(self, java):
        """A call's date is by the server's clock, however it is written."""
        async with Emulator(switches=Switches(java_dates=java)) as centre, client_of(centre) as uc:
            fill(centre, 1)
            (found,) = await search(uc)
        assert (found.calldate, found.day) == (DAY, "20270505")

    async def test_the_filters_arrive(self, centre, uc):
        """Each of them leaves out what it should; numbers may be given as such."""
        for number in range(10):
            record = RecordedCall(
                guid=f"guid-{number:06d}",
                calldate=DAY,
                source="1001",
                destination=f"09900000{number % 2}",
                campaign="Ventas->",
                agent="Ana",
                duration=number,
                rating=4,
            )
            centre.state.records.add(record)
        found = await search(uc, agent="Ana", campaign="Ventas->", source="1001", rating=4, min_duration=5, at_least=3)
        assert [row.duration for row in found] == [5, 7, 9]
        assert [row.duration for row in await search(uc, exclude="099000001", hour_range="9-12")] == [0, 2, 4, 6, 8]
        await uc.recordings.tag(phone="099000000", guid="guid-000003", data="buena venta")
        assert [row.duration for row in await search(uc, tag="venta", destination="099000001")] == [3]

    async def test_a_lost_page_is_asked_for_again(self, centre, uc):
        """A search reads only, so it survives what a call must not."""
        fill(centre, 20)
        rules = [
            {"endpoint": "Cdr/*", "fault": "close_after_read", "count": 1},
            {"endpoint": "Cdr/*", "fault": "status", "count": 1, "after": 2},
        ]
        centre.set_faults({"rules": rules})
        assert len(await search(uc, page=10)) == 20

    async def test_a_bad_filter_is_refused_before_anything_is_sent(self, centre, uc):
        """The filters have rules, as all fields have."""
        with pytest.raises(InvalidRequest, match="campaign"):
            await search(uc, campaign="a&b")
        with pytest.raises(InvalidRequest, match="page"):
            await search(uc, page=0)
        assert not centre.ledger.requests

    async def test_a_tag_may_be_answered_by_204(self, centre, uc):
        """Nothing is what the page documents, with whatever status."""
        centre.set_faults({"rules": [{"endpoint": "Agents/*", "fault": "status", "status": 204, "apply": True}]})
        await uc.recordings.tag(phone="099000000", guid=GUID, data="x")
        assert len(centre.ledger) == 1


class TestPlaces:
    """Where a recording is looked for, and in which order."""

    @pytest.mark.parametrize("format_", ["mp3", "gsm"])
    @pytest.mark.parametrize("folder", ["20270505/", ""])
    @pytest.mark.parametrize("host", ["main", "backup"])
    async def test_each_of_the_eight(self, centre, uc, host, folder, format_):
        """By day, then not; on the host, then on its backup; mp3, then gsm."""
        put(centre, host=host, folder=folder[:-1], formats=[format_])
        place = await uc.recordings.locate(ONE)
        content = mp3_of(GUID) if format_ == "mp3" else gsm_of(GUID)
        url = centre.url if host == "main" else centre.backup_url
        assert (place.url, place.format) == (f"{url}/records/{folder}{GUID}.{format_}", format_)
        assert place.size == len(content)
        order = [(kind, where, day) for kind in ("mp3", "gsm") for where in ("main", "backup") for day in (1, 0)]
        places = sum(count for path, count in centre.ledger.requests.items() if path.startswith("records/"))
        assert places == order.index((format_, host, int(bool(folder)))) + 1

    async def test_the_order_is_that_of_the_page(self, centre, uc):
        """The day's folder first; what is nowhere was looked for everywhere."""
        with pytest.raises(NotFound):
            await uc.recordings.locate(ONE)
        paths = [f"20270505/{GUID}.mp3", f"{GUID}.mp3", f"20270505/{GUID}.gsm", f"{GUID}.gsm"]
        assert asked(centre) == paths
        assert all(centre.ledger.requests[f"records/{path}"] == 2 for path in paths)

    async def test_what_was_found_is_guessed_first(self, centre, uc):
        """The kind of place where the last one lay is asked first, also by a twin of the client."""
        for guid in (GUID, "12345678"):
            put(centre, guid, host="backup", folder="")
        await uc.recordings.locate(ONE)
        centre.ledger.clear()
        await uc.with_options(timeout=5).recordings.locate(Recording(guid="12345678", calldate=DAY))
        assert dict(centre.ledger.requests) == {"records/12345678.mp3": 1}

    async def test_without_a_date_only_the_folder_of_no_day(self, centre, uc):
        """A call whose date is not known is looked for where no date is needed."""
        put(centre, folder="")
        await uc.recordings.locate(Recording(guid=GUID))
        assert asked(centre) == [f"{GUID}.mp3"]

    async def test_a_host_that_is_down_has_a_backup(self, centre):
        """What the first host cannot tell the second may."""
        put(centre, host="backup")
        async with client_of(centre, records="http://127.0.0.1:9") as uc:
            assert (await uc.recordings.locate(ONE)).url.startswith(centre.backup_url)

    async def test_missing_is_said_only_if_all_were_asked(self, centre):
        """A host that cannot be reached may have it."""
        async with client_of(centre, backup_records="http://127.0.0.1:9") as uc:
            with pytest.raises(NotSent):
                await uc.recordings.locate(ONE)

    async def test_the_same_host_twice_is_asked_once(self, centre):
        """A backup that is the host itself adds no places."""
        async with client_of(centre, backup_records=centre.url) as uc:
            with pytest.raises(NotFound):
                await uc.recordings.locate(ONE, format="mp3")
        assert sum(centre.ledger.requests.values()) == 2

    @pytest.mark.parametrize("method", ["locate", "download"])
    async def test_an_unknown_format(self, uc, method, tmp_path):
        """Only what the page knows."""
        arguments = [ONE] if method == "locate" else [ONE, tmp_path]
        with pytest.raises(SettingsError, match="format"):
            await getattr(uc.recordings, method)(*arguments, format="wav")

    @pytest.mark.parametrize(
        ("status", "error"), [(401, Unauthorized), (403, Forbidden), (500, ServerFault), (410, Refused)]
    )
    async def test_a_host_that_refuses_is_no_host_without_the_file(self, centre, uc, status, error):
        """Its answer is told as it is."""
        centre.set_faults({"rules": [{"endpoint": "records/*", "fault": "status", "status": status}]})
        with pytest.raises(error):
            await uc.recordings.locate(ONE)


def hostile_guids():
    """Return guids that would leave the path, the host, the folder, the request or the terminal."""
    plain = [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "http://evil.example/x",
        "//evil.example/x",
        "/etc/passwd",
        "....//....//etc",
        "a/../../../../b",
        "..\\..\\windows",
        "C:\\windows\\x",
        "\\\\host\\share",
        "~root/.ssh",
        "file:///etc/passwd",
        "12345678?x=1",
        "12345678#x",
        "12345678;x=1",
        "12345678&x=1",
        "12345678@evil.example",
        "CON",
        "NUL.mp3",
        "aux",
        "COM1",
        "",
        " ",
        ".",
        "..",
        "-",
        "1234567",
        "a" * 65,
        "a" * 300,
        "a" * 100_000,
        "1541169102.1234",
        "guid_with_underscore",
        "guid with blanks",
        "gúid-12345678",
        "١٢٣٤٥٦٧٨",
        "{guid}-12345678",
        "12345678\u202egpj.exe",
        "12345678\u200b",
        "\ufeff12345678",
        "12345678\ud800",
        "\u2028abcdefgh",
        "%00abcdefgh",
        "$(reboot)",
        "`reboot`1",
        "12345678'--",
        '12345678"x',
        "12345678<b>",
        "12345678|x",
        "12345678*",
        "[a-z]{8,}",
    ]
    strange = string.punctuation.replace("-", "") + "\0\t\n\r\v\f \x1b\x7f\x85\xa0"
    around = [f"{GUID}{character}" for character in strange]
    return plain + around + [f"{character}12345678" for character in "./\\:~%\n\0"]


class TestHostileGuids:
    """A guid is text from outside: it becomes a path, a file name and a form field, or nothing."""

    def test_there_are_enough(self):
        """The list is long, and none of it is sound by accident."""
        assert len(set(hostile_guids())) >= 100

    async def test_none_is_asked_for(self, centre, uc, tmp_path):
        """All are refused before any request, and nothing appears on the disk."""
        folder = tmp_path / "inner" / "recordings"
        folder.mkdir(parents=True)
        for guid in hostile_guids():
            row = Recording(guid=guid, calldate=DAY)
            for attempt in (
                uc.recordings.locate(row),
                uc.recordings.locate(row, send_token=True),
                uc.recordings.download(row, folder),
                uc.recordings.convert(guid=guid),
                uc.recordings.tag(phone="099", guid=guid, data="x"),
            ):
                with pytest.raises(InvalidRequest):
                    await attempt
        report = await uc.recordings.download_all([Recording(guid=guid) for guid in hostile_guids()], folder)
        assert (report.failed, report.recordings) == (len(hostile_guids()), len(hostile_guids()))
        assert not centre.ledger.requests
        assert centre.ledger.logins == 0
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    async def test_not_from_the_server_either(self, centre, uc, tmp_path):
        """A search shows them, a download refuses them."""
        body = '[{"guid":"../../x"},{"guid":""},{"guid":"12345678"}]'
        centre.set_faults({"rules": [{"endpoint": "Cdr/*", "fault": "body", "body": body}]})
        put(centre, "12345678", folder="")
        found = uc.recordings.search(since=DAY, until=DAY)
        report = await uc.recordings.download_all(found, tmp_path / "in")
        assert (report.downloaded, report.failed) == (1, 2)
        assert names(tmp_path) == ["in"]
        assert names(tmp_path / "in") == ["12345678.mp3"]


@contextlib.asynccontextmanager
async def raw_server(answer):
    """Serve ``answer(method, path)`` as raw bytes, and collect the heads of the requests."""
    heads = []

    async def talk(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            heads.append(head)
            method, path, _ = head.split(" ", 2)
            whole = answer(method, path)
            writer.write(whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else whole)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


def http(status, body=b"", **headers):
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{named}Connection: close\r\n\r\n".encode() + body


class TestHosts:
    """What is asked of a host of recordings, and what of its answers is believed."""

    async def test_what_a_host_sees(self, centre, tmp_path):
        """A GET without body, token or cookie, for the bytes as they are."""
        body = mp3_of(GUID)
        answer = http(200, body, Content_Length=len(body), Set_Cookie="a=b")
        async with raw_server(lambda *_: answer) as (url, heads), client_of(centre, records=url) as uc:
            await uc.login()
            for _ in range(2):
                await uc.recordings.download(ONE, tmp_path)
                (tmp_path / f"{GUID}.mp3").unlink()
        for head in heads:
            assert head.startswith(f"GET /records/20270505/{GUID}.mp3 HTTP/1.1\r\n")
            assert "Accept-Encoding: identity\r\n" in head
            assert not any(word in head.lower() for word in ("authorization", "cookie", "content-type", "basic"))

    async def test_the_token_is_shown_if_asked_for(self, centre):
        """Then, and only then, in the header of the API."""
        async with (
            raw_server(lambda *_: http(200, Content_Length=5)) as (url, heads),
            UContact(centre.url, token="sesame-1234567890", records=url) as uc,
        ):
            await uc.recordings.locate(ONE)
            await uc.recordings.locate(ONE, send_token=True)
        assert ["Authorization: Basic sesame-1234567890\r\n" in head for head in heads] == [False, True]

    async def test_a_dead_token_is_renewed_once(self, tmp_path):
        """A host that wants a token gets a live one, after one login; without being asked for it gets none."""
        async with Emulator(switches=Switches(records_need_token=True)) as centre, client_of(centre) as uc:
            put(centre)
            await uc.login()
            centre.state.sessions.end_all()
            with pytest.raises(Unauthorized):
                await uc.recordings.download(ONE, tmp_path)
            assert centre.ledger.logins == 1
            assert (await uc.recordings.download(ONE, tmp_path, send_token=True)).size == len(mp3_of(GUID))
            assert centre.ledger.logins == 2

    @pytest.mark.parametrize("method", ["locate", "download"])
    @pytest.mark.parametrize("elsewhere", [True, False])
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirects_are_not_followed(self, centre, uc, tmp_path, status, elsewhere, method):
        """Neither to another host nor on the same; the error says so, and the target is never asked."""
        async with raw_server(lambda *_: http(200, b"evil", Content_Length=4)) as (url, heads):
            target = f"{url}/x.mp3" if elsewhere else "/records/x.mp3"
            rule = {"endpoint": "records/*", "fault": "status", "status": status, "headers": {"Location": target}}
            centre.set_faults({"rules": [rule]})
            arguments = [ONE] if method == "locate" else [ONE, tmp_path]
            with pytest.raises(UnreadableReply):
                await getattr(uc.recordings, method)(*arguments)
        assert heads == []
        assert "x.mp3" not in asked(centre)
        assert names(tmp_path) == []

    @pytest.mark.parametrize("status", [405, 501])
    async def test_a_host_without_head_is_asked_by_get(self, centre, status):
        """Whether a file is there can be asked in two ways."""

        def answer(method, path):
            return http(status) if method == "HEAD" else http(200, b"12345", Content_Length=5)

        async with raw_server(answer) as (url, heads), client_of(centre, records=url) as uc:
            assert (await uc.recordings.locate(ONE)).size == 5
        assert [head.split()[0] for head in heads] == ["HEAD", "GET"]

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (http(200, b"<html>", Content_Type="text/html; charset=utf-8", Content_Length=6), NotFound),
            (http(200, b"", Content_Length=0), NotFound),
            (http(404, b"x" * 100_000, Content_Length=100_000), NotFound),
            (http(200, b"12345"), UnreadableReply),
            (http(200, b"12345", Content_Length=5, Content_Encoding="gzip"), UnreadableReply),
            (http(206, b"12345", Content_Length=5), UnreadableReply),
            (http(204), UnreadableReply),
            (b"not http at all\r\n\r\n", UnreadableReply),
            (http(200, b"123", Content_Length=5), ReplyLost),
            (http(200, b"5\r\n123", Transfer_Encoding="chunked"), ReplyLost),
            (b"", ReplyLost),
        ],
    )
    async def test_what_is_no_recording(self, centre, tmp_path, answer, error):
        """A page instead of a file, half a file, a file whose end cannot be seen: nothing of it is kept."""
        async with raw_server(lambda *_: answer) as (url, _), client_of(centre, records=url, backup_records=url) as uc:
            with pytest.raises(error):
                await uc.recordings.download(ONE, tmp_path, convert=False)
        assert names(tmp_path) == []

    async def test_a_file_in_chunks(self, centre, tmp_path):
        """A file without an announced length ends where its chunks say, and is compared by what was read."""
        answer = http(200, b"5\r\n12345\r\n0\r\n\r\n", Transfer_Encoding="chunked")
        async with raw_server(lambda *_: answer) as (url, _), client_of(centre, records=url) as uc:
            first = await uc.recordings.download(ONE, tmp_path)
            second = await uc.recordings.download(ONE, tmp_path)
        assert (first.size, first.already, second.size, second.already) == (5, False, 5, True)

    @pytest.mark.parametrize("announced", [True, False])
    async def test_a_file_that_is_too_long(self, centre, tmp_path, announced):
        """The cap holds whether the length was announced or not."""
        body = b"x" * 3000
        if announced:
            answer = http(200, body, Content_Length=3000)
        else:
            answer = http(200, b"bb8\r\n" + body + b"\r\n0\r\n\r\n", Transfer_Encoding="chunked")
        async with raw_server(lambda *_: answer) as (url, _), client_of(centre, records=url) as uc:
            with pytest.raises(UnreadableReply, match="longer than 2999 bytes"):
                await uc.recordings.download(ONE, tmp_path, max_size=2999)
            assert names(tmp_path) == []
            assert (await uc.recordings.download(ONE, tmp_path, max_size=3000)).size == 3000

    async def test_silence_ends(self, centre, uc, tmp_path):
        """A host that says nothing, or stops in the middle, is given up after the time-out."""
        put(centre)
        centre.set_faults({"rules": [{"endpoint": "records/*", "fault": "hang_before_apply"}]})
        with pytest.raises(ReplyLost):
            await uc.with_options(timeout=0.1).recordings.download(ONE, tmp_path)
        assert names(tmp_path) == []

    async def test_no_error_shows_the_token(self, centre):
        """Neither an error nor its traceback with all locals holds it."""
        secret = "sesame-1234567890"
        async with (
            raw_server(lambda *_: b"garbage\r\n\r\n") as (url, _),
            UContact(centre.url, token=secret, records=url) as uc,
        ):
            with pytest.raises(UnreadableReply) as caught:
                await uc.recordings.locate(ONE, send_token=True)
        error = caught.value
        assert error.__context__ is None
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        # This test's own frame holds it, the library's must not.
        frames = [frame for frame in shown.stack if "test_recordings" not in frame.filename]
        told = "".join(f"{frame.name} {frame.locals}" for frame in frames)
        assert "_walk" in told
        assert secret not in told + repr(error) + str(error)


class TestFolder:
    """A file lands whole, in its folder, beside what is there."""

    async def test_a_whole_file(self, centre, uc, tmp_path):
        """Its bytes, for nobody but its owner, in a folder that is made; no other file is left."""
        put(centre)
        before = os.umask(0)
        try:
            done = await uc.recordings.download(ONE, tmp_path / "a" / "b")
        finally:
            os.umask(before)
        assert done.path == tmp_path / "a" / "b" / f"{GUID}.mp3"
        assert (done.path.read_bytes(), done.already, done.format) == (mp3_of(GUID), False, "mp3")
        assert names(tmp_path / "a" / "b") == [f"{GUID}.mp3"]
        assert stat.S_IMODE(done.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(done.path.parent.stat().st_mode) == 0o700

    async def test_what_is_there_is_not_fetched_again(self, centre, uc, tmp_path):
        """The same length is enough; the file stays as it is, and its bytes are not sent."""
        put(centre)
        file = tmp_path / f"{GUID}.mp3"
        file.write_bytes(b"x" * len(mp3_of(GUID)))
        assert (await uc.recordings.download(ONE, tmp_path)).already
        assert set(file.read_bytes()) == {ord("x")}

    async def test_another_file_is_left_alone(self, centre, uc, tmp_path):
        """Another length is another file: an error, and not one byte of it changes."""
        put(centre)
        file = tmp_path / f"{GUID}.mp3"
        file.write_bytes(b"mine")
        with pytest.raises(FileExistsError):
            await uc.recordings.download(ONE, tmp_path)
        assert file.read_bytes() == b"mine"
        assert names(tmp_path) == [file.name]

    @pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo"])
    async def test_what_is_no_file_is_left_alone(self, centre, uc, tmp_path, kind):
        """A link at the name of the file is not followed, not even one that leads nowhere."""
        put(centre)
        folder, outside = tmp_path / "in", tmp_path / "outside"
        folder.mkdir()
        name = folder / f"{GUID}.mp3"
        if kind == "link":
            outside.write_bytes(b"x" * len(mp3_of(GUID)))
        if kind in ("link", "dangling"):
            name.symlink_to(outside)
        elif kind == "folder":
            name.mkdir()
        else:
            os.mkfifo(name)
        before = os.lstat(name)
        with pytest.raises(FileExistsError):
            await uc.recordings.download(ONE, folder)
        assert os.lstat(name) == before
        assert outside.exists() is (kind == "link")
        assert kind != "link" or set(outside.read_bytes()) == {ord("x")}
        assert not asked(centre)

    async def test_a_link_that_comes_meanwhile(self, centre, uc, tmp_path, monkeypatch):
        """A link put at the name while the file comes is neither followed nor replaced."""
        put(centre)
        folder, outside = tmp_path / "in", tmp_path / "outside"
        keep = Arrival.keep

        def attacked(arrival):
            (folder / f"{GUID}.mp3").symlink_to(outside)
            keep(arrival)

        monkeypatch.setattr(Arrival, "keep", attacked)
        with pytest.raises(FileExistsError):
            await uc.recordings.download(ONE, folder)
        assert not outside.exists()
        assert names(folder) == [f"{GUID}.mp3"]

    async def test_a_link_at_the_temporary_name(self, centre, uc, tmp_path, monkeypatch):
        """Whoever guesses the temporary name gains nothing, and what he put there stays."""
        put(centre)
        outside = tmp_path / "outside"
        folder = tmp_path / "in"
        folder.mkdir()
        monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
        (folder / f".{GUID}.mp3.guessed.part").symlink_to(outside)
        with pytest.raises(FileExistsError):
            await uc.recordings.download(ONE, folder)
        assert not outside.exists()
        assert names(folder) == [f".{GUID}.mp3.guessed.part"]

    async def test_a_folder_that_is_swapped_meanwhile(self, centre, uc, tmp_path, monkeypatch):
        """A file lands in the folder that was opened, not in what its path leads to by then."""
        put(centre)
        folder, outside = tmp_path / "in", tmp_path / "outside"
        outside.mkdir()
        keep = Arrival.keep

        def attacked(arrival):
            folder.rename(tmp_path / "moved")
            folder.symlink_to(outside)
            keep(arrival)

        monkeypatch.setattr(Arrival, "keep", attacked)
        await uc.recordings.download(ONE, folder)
        assert names(outside) == []
        assert names(tmp_path / "moved") == [f"{GUID}.mp3"]

    @pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc/x", "x\0y"])
    def test_a_name_is_one_name(self, tmp_path, name):
        """The folder itself takes no path, whoever asks."""
        folder = Folder(tmp_path)
        folder.open()
        try:
            with pytest.raises(ValueError, match="not the name"):
                Arrival(folder, name)
        finally:
            folder.close()

    async def test_two_at_once_of_the_same(self, centre, uc, tmp_path):
        """One of them lands, the other finds it there."""
        put(centre)
        done = await asyncio.gather(*(uc.recordings.download(ONE, tmp_path) for _ in range(8)))
        assert sum(not one.already for one in done) == 1
        assert names(tmp_path) == [f"{GUID}.mp3"]

    async def test_without_hard_links(self, centre, uc, tmp_path, monkeypatch):
        """Where a file system has none, a file lands all the same, and never over another."""

        def none(*args, **kwargs):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", none)
        put(centre)
        assert (await uc.recordings.download(ONE, tmp_path)).path.read_bytes() == mp3_of(GUID)
        keep = Arrival.keep

        def attacked(arrival):
            (tmp_path / "12345678.mp3").write_bytes(b"mine")
            keep(arrival)

        monkeypatch.setattr(Arrival, "keep", attacked)
        put(centre, "12345678")
        with pytest.raises(FileExistsError):
            await uc.recordings.download(Recording(guid="12345678", calldate=DAY), tmp_path)
        assert (tmp_path / "12345678.mp3").read_bytes() == b"mine"
        assert names(tmp_path) == ["12345678.mp3", f"{GUID}.mp3"]

    @pytest.mark.parametrize("step", ["write", "fsync", "link"])
    async def test_a_full_disk(self, centre, uc, tmp_path, monkeypatch, step):
        """What the disk says is raised as it is, and nothing is left of the file."""

        def full(*args, **kwargs):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        put(centre)
        monkeypatch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space"):
            await uc.recordings.download(ONE, tmp_path)
        monkeypatch.undo()
        assert names(tmp_path) == []

    async def test_a_file_where_the_folder_should_be(self, centre, uc, tmp_path):
        """A folder that is none is refused before anything is asked."""
        (tmp_path / "x").write_text("mine", encoding="ascii")
        with pytest.raises(OSError, match="exists"):
            await uc.recordings.download(ONE, tmp_path / "x")
        assert not centre.ledger.requests

    async def test_being_cancelled_waits_for_the_thread(self):
        """Whoever cleans up afterwards never meets a thread that still works."""
        steps = []

        def work():
            time.sleep(0.1)
            steps.append("worked")

        task = asyncio.create_task(in_thread(work))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert steps == ["worked"]


class TestDownload:
    """Broken, converted, cancelled."""

    async def test_a_broken_one_is_read_again(self, centre, uc, tmp_path):
        """A recording dropped half way is fetched again from its beginning."""
        put(centre)
        centre.set_faults({"rules": [{"endpoint": "records/*", "fault": "truncated", "count": 2}]})
        assert (await uc.recordings.download(ONE, tmp_path)).path.read_bytes() == mp3_of(GUID)
        assert names(tmp_path) == [f"{GUID}.mp3"]

    async def test_one_that_breaks_every_time(self, centre, uc, tmp_path):
        """After three tries it is lost, and nothing is left of it; later it may be there."""
        put(centre)
        centre.set_faults({"rules": [{"endpoint": "records/*", "fault": "truncated"}]})
        with pytest.raises(ReplyLost) as caught:
            await uc.recordings.download(ONE, tmp_path)
        assert caught.value.attempts == 3
        assert names(tmp_path) == []
        centre.set_faults(None)
        await uc.recordings.download(ONE, tmp_path)

    async def test_its_backup_may_be_whole(self, centre, uc, tmp_path):
        """What breaks on one host is taken from the other."""
        put(centre)
        put(centre, host="backup", folder="")
        centre.set_faults({"rules": [{"endpoint": "records/2027*", "fault": "truncated"}]})
        await uc.recordings.download(ONE, tmp_path)
        assert names(tmp_path) == [f"{GUID}.mp3"]

    async def test_a_gsm_is_converted(self, centre, uc, tmp_path):
        """Where an mp3 is wanted and only a gsm is there, the server makes one, told where it lies."""
        put(centre, formats=["gsm"])
        done = await uc.recordings.download(ONE, tmp_path)
        assert done.path.read_bytes() == mp3_of(GUID)
        (entry,) = centre.ledger
        assert (entry.endpoint, entry.fields) == ("Supervisor/convert", {"guid": GUID, "folder": "20270505"})

    async def test_a_gsm_is_taken_as_it_is(self, centre, uc, tmp_path):
        """Nothing is converted for whoever takes a gsm, or does not want it done."""
        put(centre, formats=["gsm"])
        assert (await uc.recordings.download(ONE, tmp_path, format="any")).path.read_bytes() == gsm_of(GUID)
        assert (await uc.recordings.download(ONE, tmp_path / "gsm", format="gsm")).format == "gsm"
        with pytest.raises(NotFound):
            await uc.recordings.download(ONE, tmp_path, convert=False)
        assert len(centre.ledger) == 0

    async def test_nothing_is_converted_that_is_not_there(self, centre, uc, tmp_path):
        """A recording that is missing as gsm too is not sent to be converted."""
        with pytest.raises(NotFound):
            await uc.recordings.download(ONE, tmp_path)
        assert len(centre.ledger) == 0

    @pytest.mark.parametrize(
        ("rule", "error"),
        [
            ({"fault": "status", "status": 404}, Refused),
            ({"fault": "body", "body": "0"}, Rejected),
            ({"fault": "body", "body": "1", "apply": False}, NotFound),
        ],
    )
    async def test_a_conversion_that_fails(self, centre, uc, tmp_path, rule, error):
        """No endpoint, a refusal, a success without an mp3: each is told, and only the last is a missing file."""
        put(centre, formats=["gsm"])
        centre.set_faults({"rules": [{"endpoint": "Supervisor/convert", **rule}]})
        with pytest.raises(Refused) as caught:
            await uc.recordings.download(ONE, tmp_path)
        assert type(caught.value) is error

    async def test_a_conversion_may_take_long(self, centre, uc, tmp_path):
        """It has 20 times the time of other calls."""
        put(centre, formats=["gsm"])
        centre.set_faults({"rules": [{"endpoint": "Supervisor/convert", "fault": "latency", "seconds": 0.4}]})
        await uc.login()
        await uc.with_options(timeout=0.2).recordings.download(ONE, tmp_path)
        assert len(centre.ledger) == 1

    @pytest.mark.parametrize("native", [True, False])
    async def test_a_cancelled_one_leaves_nothing(self, centre, tmp_path, native):
        """Whoever stops in the middle of a file, by asyncio or by anyio, finds the folder as it was."""
        started = asyncio.Event()

        async def drip(reader, writer):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(http(200, b"x" * 500_000, Content_Length=1_000_000))
                await writer.drain()
                started.set()
                await reader.read()
            writer.close()

        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, client_of(centre, records=url) as uc, anyio.create_task_group() as group:
            if native:
                task = asyncio.create_task(uc.recordings.download(ONE, tmp_path))
            else:
                group.start_soon(uc.recordings.download, ONE, tmp_path)
            await started.wait()
            await asyncio.sleep(0.05)
            assert [name.endswith(".part") for name in names(tmp_path)] == [True]
            if native:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                group.cancel_scope.cancel()
        assert names(tmp_path) == []


async def many(count, folder, *, concurrency=8):
    """Download ``count`` recordings of a server with every trouble, twice, and check both reports."""
    async with Emulator(backup=True) as centre, client_of(centre) as uc:
        missing = gsm = dropped = 0
        rules = []
        for number in range(count):
            guid = f"guid-{number:06d}"
            formats = ["mp3"]
            if number % 10 == 0:
                formats, missing = [], missing + 1
            elif number % 10 in (1, 2):
                formats, gsm = ["gsm"], gsm + 1
            elif number % 20 == 5:
                dropped += 1
                rules.append({"endpoint": f"records/*{guid}.mp3", "fault": "truncated", "count": 1})
            record = RecordedCall(guid=guid, calldate=DAY + timedelta(seconds=number))
            where = {"host": "backup" if number % 3 == 0 else "main", "folder": "" if number % 7 == 0 else None}
            centre.state.records.add(record, formats=formats, **where)
        centre.set_faults({"rules": [*rules, {"endpoint": "records/*", "fault": "latency", "seconds": 0.001}]})
        seen = []
        found = uc.recordings.search(since=DAY, until=DAY + timedelta(days=1))
        first = await uc.recordings.download_all(
            found,
            folder,
            max_concurrency=concurrency,
            progress=lambda report: seen.append((report.recordings, report.downloaded, report.missing)),
        )
        assert (first.downloaded, first.already, first.missing, first.failed) == (count - missing, 0, missing, 0)
        assert seen[-1] == (count, count - missing, missing)
        assert len(seen) == count
        assert not first.complete
        assert {problem.recording.guid for problem in first.problems} == {f"guid-{n:06d}" for n in range(0, count, 10)}
        assert len({entry.fields["guid"] for entry in centre.ledger.of("Supervisor/convert")}) == gsm
        assert dropped == count // 20
        assert centre.ledger.max_in_flight <= concurrency
        landed = {name: (folder / name).read_bytes() for name in names(folder)}
        assert landed == {f"guid-{n:06d}.mp3": mp3_of(f"guid-{n:06d}") for n in range(count) if n % 10}
        second = await uc.recordings.download_all(
            uc.recordings.search(since=DAY, until=DAY + timedelta(days=1)), folder, max_concurrency=concurrency
        )
        assert (second.downloaded, second.already, second.missing) == (0, count - missing, missing)
        assert first.bytes == sum(map(len, landed.values()))
        assert second.bytes == 0


class TestDownloadAll:
    """Many: bounded, counted, resumed."""

    async def test_every_trouble_in_small(self, tmp_path):
        """10 % missing, 20 % gsm only, 5 % dropped half way: the counts add up, and a second run fetches nothing."""
        await many(40, tmp_path / "in")
        assert names(tmp_path) == ["in"]

    async def test_every_trouble_in_large(self, tmp_path):
        """The same with 500 recordings at once."""
        await many(500, tmp_path / "in", concurrency=500)
        assert names(tmp_path) == ["in"]

    async def test_a_run_that_was_cut_goes_on(self, centre, uc, tmp_path):
        """What had landed is skipped, the rest is fetched."""
        for number in range(30):
            put(centre, f"guid-{number:06d}")
        rows = [Recording(guid=f"guid-{number:06d}", calldate=DAY) for number in range(30)]
        with anyio.CancelScope() as scope:

            def stop(report):
                if report.recordings == 11:
                    scope.cancel()

            await uc.recordings.download_all(rows, tmp_path, max_concurrency=4, progress=stop)
        landed = len(names(tmp_path))
        assert 11 <= landed < 30
        assert all(name.endswith(".mp3") for name in names(tmp_path))
        report = await uc.recordings.download_all(rows, tmp_path)
        assert (report.already, report.downloaded, report.complete) == (landed, 30 - landed, True)

    async def test_a_source_that_breaks(self, centre, uc, tmp_path):
        """What breaks the search is raised when the downloads under way have ended; they are kept."""
        for number in range(6):
            put(centre, f"guid-{number:06d}")

        async def source():
            for number in range(6):
                yield Recording(guid=f"guid-{number:06d}", calldate=DAY)
            raise ServerFault("the search broke", status=500)

        with pytest.raises(ServerFault, match="the search broke"):
            await uc.recordings.download_all(source(), tmp_path, max_concurrency=3)
        assert len(names(tmp_path)) == 6

    async def test_a_full_disk_ends_the_run(self, centre, uc, tmp_path, monkeypatch):
        """It would end every other download as well."""
        for number in range(20):
            put(centre, f"guid-{number:06d}")

        def full(*args):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        seen: list[DownloadReport] = []
        rows = [Recording(guid=f"guid-{number:06d}", calldate=DAY) for number in range(20)]
        with pytest.raises(OSError, match="No space"):
            await uc.recordings.download_all(rows, tmp_path, max_concurrency=2, progress=seen.append)
        monkeypatch.undo()
        assert names(tmp_path) == []
        assert len(asked(centre)) < 20

    async def test_the_other_workers_stop_too(self, centre, uc, tmp_path, monkeypatch):
        """Once the disk has failed for one, nobody begins another download."""
        for number in range(40):
            put(centre, f"guid-{number:06d}")
        write, calls = os.write, []

        def fails_once(*args):
            calls.append(args)
            if len(calls) == 3:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return write(*args)

        monkeypatch.setattr(os, "write", fails_once)
        rows = [Recording(guid=f"guid-{number:06d}", calldate=DAY) for number in range(40)]
        with pytest.raises(OSError, match="Input/output"):
            await uc.recordings.download_all(rows, tmp_path, max_concurrency=2)
        assert 2 <= len(names(tmp_path)) < 8

    async def test_a_callback_that_breaks(self, centre, uc, tmp_path):
        """Its error comes out as it is, and no group of errors."""
        put(centre)

        def break_(report):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await uc.recordings.download_all([ONE], tmp_path, progress=break_)

    async def test_files_of_others_fail_alone(self, centre, uc, tmp_path):
        """A name that is taken fails its own recording and no other."""
        for number in range(4):
            put(centre, f"guid-{number:06d}")
        (tmp_path / "guid-000002.mp3").write_bytes(b"mine")
        rows = [Recording(guid=f"guid-{number:06d}", calldate=DAY) for number in range(4)]
        report = await uc.recordings.download_all(rows, tmp_path)
        assert (report.downloaded, report.failed) == (3, 1)
        assert isinstance(report.problems[0].error, FileExistsError)
        assert (tmp_path / "guid-000002.mp3").read_bytes() == b"mine"
        assert str(report) == "DownloadReport(4 recordings: 3 downloaded, 0 already there, 0 missing, 1 failed)"

    async def test_a_host_that_is_down(self, tmp_path, centre):
        """Every recording has failed, none is called missing."""
        async with client_of(centre, records="http://127.0.0.1:9", backup_records=None) as uc:
            report = await uc.recordings.download_all([ONE], tmp_path)
        assert (report.failed, report.missing) == (1, 0)
        assert isinstance(report.problems[0].error, UContactError)

    @pytest.mark.parametrize("options", [{"max_concurrency": 0}, {"format": "wav"}, {"max_size": 0}])
    async def test_options_that_make_no_sense(self, uc, tmp_path, options):
        """They are refused before anything is touched."""
        with pytest.raises(SettingsError):
            await uc.recordings.download_all([ONE], tmp_path / "in", **options)
        assert names(tmp_path) == []

    async def test_memory_of_problems_is_bounded(self):
        """The first thousand are kept, all are counted."""
        report = DownloadReport()
        for _ in range(1500):
            report.lacking(ONE, NotFound("x", status=404), missing=True)
        assert (report.missing, len(report.problems)) == (1500, 1000)

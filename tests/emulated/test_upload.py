"""Lists uploaded to the emulator: what is accepted, what is said of a file whose fate is unknown, and once only."""

import asyncio
import logging
import socket
import threading
import tracemalloc

import anyio
import pytest

from ucontact_async import (
    InvalidRequest,
    ListFile,
    ListRow,
    ListWriter,
    NotSent,
    Rejected,
    ReplyLost,
    TypedNumber,
    UContact,
    Unauthorized,
    ZonedListFile,
)
from ucontact_async.emulator import Emulator, Switches

UPLOAD = "Dialers/uploadbase"
ZONED = "Dialers/uploadbasewithtimezone"


def client_of(emulator, **options):
    return UContact(emulator.url, **{"user": "api", "password": "secret", **options})


def rows(count, start=0):
    return [ListRow(destination=f"0990{n:05d}", data={"id": str(n)}) for n in range(start, start + count)]


async def loaded(emulator):
    """Return the lists once none of them is loading."""
    while any(found.status == "loading" for found in emulator.state.lists):
        await asyncio.sleep(0.01)
    return emulator.state.lists


async def test_rows_become_lists_and_then_calls(emulator):
    """Every row arrives in its file, inactive; activated, they are on the spool in their order."""
    async with client_of(emulator) as uc:
        report = await uc.dialers.upload(iter(rows(25)), campaign="Ventas->", name="mayo", rows_per_file=10)
    assert [(file.rows, file.status, file.error) for file in report.files] == [
        (10, "accepted", None),
        (10, "accepted", None),
        (5, "accepted", None),
    ]
    assert (report.rows, report.accepted) == (25, 25)
    assert report.raise_for_status() is report
    lists = await loaded(emulator)
    assert [f"{found.name}.csv" for found in lists] == [file.name for file in report.files]
    assert {(found.status, found.username, found.dropped) for found in lists} == {("inactive", "api", 0)}
    assert emulator.state.spool == []
    for found, percentage in zip(lists, (50, 40, 10), strict=True):
        emulator.state.activate(found.name, percentage)
    assert [row.destination for row in emulator.state.spool] == [row.destination for row in rows(25)]
    assert emulator.state.spool[7].data == "id=7"
    assert len(emulator.snapshot()["lists"]) == 3


async def test_in_another_time_zone(emulator):
    """The zone is sent as it is given, an explicit user too."""
    async with client_of(emulator) as uc:
        report = await uc.dialers.upload_with_timezone(
            rows(3), timezone="Asia/Tokyo", campaign="Ventas->", username="ana"
        )
        with pytest.raises(InvalidRequest, match="timezone"):
            await uc.dialers.upload_with_timezone(rows(3), timezone=" ", campaign="Ventas->")
    (entry,) = emulator.ledger
    assert (entry.endpoint, entry.fields["timezone"], entry.fields["username"]) == (ZONED, "Asia/Tokyo", "ana")
    assert (entry.fields["cant"], entry.fields["filename"]) == ("3", report.files[0].name)


async def test_one_file_as_a_value(emulator):
    """A file may be sent as the other requests are."""
    file = ListFile(campaign="Ventas->", name="a.csv", content=b"Ventas->;0991;;;1", rows=1)
    zoned = ZonedListFile(campaign="Ventas->", name="b.csv", content=b"x", rows=1, timezone="UTC")
    async with client_of(emulator) as uc:
        assert await uc.send(file) is None
        assert (
            await uc.dialers.upload_file_with_timezone(
                campaign="Ventas->", name="b.csv", content=b"x", rows=1, timezone="UTC"
            )
            is None
        )
        await uc.send(zoned)
        path, body = uc.preview(file)
    assert [entry.endpoint for entry in emulator.ledger] == [UPLOAD, ZONED, ZONED]
    assert path.endswith(UPLOAD)
    assert "fileb64=Kioq" in body


async def test_a_client_without_a_user_must_be_told_one(emulator):
    """A token has no name to send; nothing is sent before there is one."""
    token = emulator.state.sessions.open("api")
    async with UContact(emulator.url, token=token) as uc:
        with pytest.raises(InvalidRequest, match="give username"):
            await uc.dialers.upload(rows(3), campaign="Ventas->")
        await uc.dialers.upload(rows(3), campaign="Ventas->", username="ana")
    assert [entry.fields["username"] for entry in emulator.ledger] == ["ana"]


async def test_a_bad_row_sends_nothing(emulator):
    """A row at the very end that breaks a rule is found before the first file leaves."""
    bad = ListRow(destination="0991", data={"note": "x;Ventas->;0999;;;1"})
    async with client_of(emulator) as uc:
        with pytest.raises(InvalidRequest, match=r"row 20: data\.note"):
            await uc.dialers.upload([*rows(20), bad], campaign="Ventas->", rows_per_file=5)
    assert not emulator.ledger.requests


@pytest.mark.parametrize(
    ("rule", "status", "error", "applied"),
    [
        ({"fault": "close_after_apply"}, "unknown", ReplyLost, 2),
        ({"fault": "reset_after_read"}, "unknown", ReplyLost, 1),
        ({"fault": "body", "body": "<html>"}, "unknown", None, 2),
        ({"fault": "body", "body": "0"}, "refused", Rejected, 1),
        ({"fault": "status", "status": 413}, "refused", None, 1),
        ({"fault": "status", "status": 401}, "refused", Unauthorized, 1),
    ],
)
async def test_the_first_file_that_is_not_accepted_ends_it(emulator, rule, status, error, applied):
    """What became of it is said, it is not sent again, and the files after it are not sent at all."""
    async with client_of(emulator) as uc:
        emulator.set_faults({"rules": [{"endpoint": UPLOAD, "after": 1, **rule}]})
        report = await uc.dialers.upload(rows(20), campaign="Ventas->", rows_per_file=5)
    assert [file.status for file in report.files] == ["accepted", status, "not sent", "not sent"]
    first, second, *others = report.files
    assert first.error is None
    assert error is None or type(second.error) is error
    assert all(isinstance(file.error, NotSent) and second.name in str(file.error) for file in others)
    assert emulator.ledger.requests[UPLOAD] == (3 if rule.get("status") == 401 else 2)
    assert len(emulator.ledger) == applied
    assert report.accepted == 5
    with pytest.raises(type(second.error)):
        report.raise_for_status()


async def test_what_was_surely_not_sent_is_tried_again(emulator):
    """A refused token or a server that asks to wait costs nothing."""
    emulator.set_faults(
        {
            "rules": [
                {"endpoint": UPLOAD, "fault": "status", "status": 401, "count": 1},
                {"endpoint": UPLOAD, "fault": "status", "status": 429, "headers": {"Retry-After": "0"}, "count": 1},
            ]
        }
    )
    async with client_of(emulator) as uc:
        report = await uc.dialers.upload(rows(3), campaign="Ventas->")
    assert [file.status for file in report.files] == ["accepted"]
    assert len(emulator.ledger) == 1


async def test_nobody_there_is_not_sent():
    """A server that cannot be reached has not got the file."""
    async with UContact("http://127.0.0.1:1", token="x") as uc:
        report = await uc.dialers.upload(rows(3), campaign="Ventas->", username="ana")
    ((file,), error) = report.files, report.files[0].error
    assert (file.status, type(error)) == ("not sent", NotSent)


async def test_an_upload_that_is_cancelled_finishes_the_file_on_the_wire(emulator):
    """Cancelled in the middle of a file: that one is finished and heard of, the others stay."""
    events = []
    emulator.set_faults({"rules": [{"endpoint": UPLOAD, "fault": "latency", "seconds": 0.2}]})
    async with client_of(emulator) as uc:
        uc.listen(events.append)
        await uc.login()
        with anyio.move_on_after(0.1):
            await uc.dialers.upload(rows(20), campaign="Ventas->", rows_per_file=5)
    assert [(type(event.request), event.error) for event in events] == [(ListFile, None)]
    assert len(emulator.ledger) == 1


async def test_a_journal_remembers_the_files(emulator, tmp_path):
    """The files are requests: with a journal a second run sends what the first did not, and nothing twice."""
    async with client_of(emulator) as uc:

        async def run():
            writer = ListWriter(campaign="Ventas->", rows_per_file=5, rules=uc.rules)
            return await uc.bulk(writer.files(rows(20)), journal=tmp_path / "j", max_concurrency=1)

        emulator.set_faults({"rules": [{"endpoint": UPLOAD, "fault": "close_after_apply", "after": 1, "count": 1}]})
        first, second = await run(), await run()
    assert (first.succeeded, first.unknown) == (3, 1)
    assert (second.succeeded, second.unknown, second.skipped) == (0, 1, 3)
    assert len({entry.fields["filename"] for entry in emulator.ledger}) == len(emulator.ledger) == 4


async def test_no_number_is_shown(emulator, caplog):
    """Neither reprs nor errors nor logs hold a number or form data."""
    caplog.set_level(logging.DEBUG)
    secret = ListRow(
        destination="098344484", data={"n": "Fulana"}, alternatives=[TypedNumber(kind="W", number="24007777")]
    )
    emulator.set_faults({"rules": [{"endpoint": UPLOAD, "fault": "close_after_apply"}]})
    async with client_of(emulator) as uc:
        report = await uc.dialers.upload([secret], campaign="Ventas->")
    (file,) = ListWriter(campaign="Ventas->").files([secret])
    for text in (repr(report), repr(file), str(list(file.__rich_repr__())), caplog.text, repr(secret)):
        assert not any(known in text for known in ("4484", "7777", "Fulana", "MDk4MzQ0NDg0"))


async def test_an_unknown_campaign(anyio_backend):
    """A server that refuses the campaign says so for the file."""
    switches = Switches(campaigns=frozenset({"Otra->"}))
    async with Emulator(switches=switches) as emulator, client_of(emulator) as uc:
        report = await uc.dialers.upload(rows(3), campaign="Ventas->")
    assert [file.status for file in report.files] == ["refused"]


class Sink:
    """A server in a thread of its own that keeps nothing and answers ``1``."""

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._thread.join()
        self._listener.close()

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection:
            buffer = bytearray(65_536)
            count = connection.recv_into(buffer)
            head = bytes(buffer[:count]).lower()
            left = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            left -= count - head.index(b"\r\n\r\n") - 4
            while left > 0:
                left -= connection.recv_into(buffer)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")


async def test_memory():
    """Sending a file takes less than four times its size, the file included."""
    line = "Ventas->;098344484;id=7:nombre=Ana Pérez;24001234:099111222;9999\n".encode()
    with Sink() as server:
        async with UContact(server.url, token="x") as uc:
            tracemalloc.start()
            try:
                content = line * (8 * 2**20 // len(line))
                await uc.send(ListFile(campaign="Ventas->", name="a.csv", content=content, rows=1, username="u"))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert peak < 4 * len(content)

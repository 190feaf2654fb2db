"""S12: every file is for its owner only; what a journal keeps of persons is forgotten on demand, or never kept."""

import contextlib
import os
import sqlite3
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "emulated"))

from scripted_server import Scripted

from ucontact_async import (
    FileTokenStore,
    JournalError,
    JournalMismatch,
    Recording,
    RemoveContact,
    ScheduledCall,
    SettingsError,
    UContact,
    open_journal,
)
from ucontact_async.batch.journal_calls import calls_since
from ucontact_async.batch.preparing import LeftOut
from ucontact_async.batch.rules.caps import Cap
from ucontact_async.batch.rules.rules import DialRules
from ucontact_async.batch.undo import Undo
from ucontact_async.cli import main

WHEN = datetime(2099, 5, 5, 10)
PHONE, PERSON = "099318275", "canary-zoraida"
only_posix = pytest.mark.skipif(os.name != "posix", reason="only on POSIX")


def calls(count, start=0):
    return [
        ScheduledCall(campaign="Ventas->", destination=f"{PHONE}{n:03d}", calldate=WHEN, data={"name": PERSON})
        for n in range(start, start + count)
    ]


@pytest.fixture
def client(emulator):
    return lambda **options: UContact(
        emulator.url, **{"user": "api", "password": "secret", "timezone": "America/Montevideo", **options}
    )


@pytest.fixture
def server():
    """A server that fails while it holds a call: an unknown outcome."""
    with Scripted(lambda connection, *_: connection.sendall(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")) as started:
        yield started


def said(*journals):
    """Return all bytes of journals and of what stands beside them."""
    return b"".join(file.read_bytes() for journal in journals for file in journal.parent.glob(f"{journal.name}*"))


@only_posix
async def test_every_file_is_for_its_owner_only(client, emulator, tmp_path, monkeypatch):
    """Whatever the umask, journal, its log and lock, token, report, list of unknown rows and sound are 0600."""
    monkeypatch.chdir(tmp_path)
    before, modes = os.umask(0), {}

    def look(*_):
        for path in (tmp_path / "made").rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a journal's log goes while the last rows are told of
                found = path.stat().st_mode
                modes[path.relative_to(tmp_path / "made").as_posix()] = (stat.S_IMODE(found), stat.S_ISDIR(found))

    try:
        (tmp_path / "made").mkdir()
        journal = tmp_path / "made" / "deep" / "er" / "run.journal"
        emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "reset_after_apply", "count": 2}]})
        store = FileTokenStore(tmp_path / "made" / "token")
        async with client(token_store=store) as uc:
            await uc.bulk(calls(30), journal=journal, progress=look)
            await uc.recordings.download_all([Recording(guid="a1b2c3d4")], tmp_path / "made" / "sound")
            look()
        rows = tmp_path / "made" / "rows.csv"
        descriptor = os.open(rows, os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(descriptor, f"destination;calldate\n{PHONE}&;2099-05-05 10:00\n".encode())
        os.close(descriptor)
        monkeypatch.setenv("UCONTACT_TOKEN", "t")
    finally:
        os.umask(before)
    assert {"deep/er/run.journal", "deep/er/run.journal-wal", "deep/er/run.journal-shm", "token"} <= set(modes)
    assert {mode for mode, folder in modes.values() if not folder} == {0o600}
    assert {mode for mode, folder in modes.values() if folder} == {0o700}


@only_posix
@pytest.mark.parametrize("command", ["schedule", "unknown"])
def test_what_commands_write_is_for_its_owner_only(command, tmp_path, monkeypatch, server):
    """The rows that were not done, and the list of unknown ones, hold numbers: 0600 under any umask."""
    before = os.umask(0)
    try:
        rows = tmp_path / "rows.csv"
        rows.write_text(f"destination;calldate\n{PHONE};2099-05-05 10:00\n{PHONE}&;2099-05-05 10:00\n")
        environment = {"URL": server.url, "TOKEN": "t", "TIMEZONE": "UTC"}
        for name, value in environment.items():
            monkeypatch.setenv(f"UCONTACT_{name}", value)
        known = set(tmp_path.iterdir())
        main(["schedule", str(rows), "--campaign", "Ventas->"])
        if command == "unknown":
            main(["unknown", f"{rows}.journal", "--csv", str(tmp_path / "unknown.csv")])
        made = set(tmp_path.iterdir()) - known
    finally:
        os.umask(before)
    assert len(made) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in made} == {0o600}


async def test_a_journal_of_keys(client, emulator, tmp_path):
    """No number and no name is in its bytes, and the same run again sends nothing twice."""
    journal = tmp_path / "run.journal"
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "reset_after_apply", "count": 2}]})
    async with client() as uc:
        first = await uc.bulk(calls(20), journal=journal, journal_mode="keys")
        assert (first.succeeded, first.unknown) == (18, 2)
        again = await uc.bulk(calls(25), journal=journal)  # what it keeps was settled when it was begun
        assert (again.succeeded, again.unknown, again.skipped) == (5, 2, 18)
    assert len(emulator.ledger) == 25
    for canary in (PHONE, PERSON):
        assert canary.encode() not in said(journal)


async def test_a_journal_of_keys_cannot_be_undone_and_says_so(client, tmp_path):
    """``undo`` removes nothing and says that the requests are not kept; a cap says that it cannot count."""
    journal = tmp_path / "run.journal"
    async with client() as uc:
        await uc.bulk(calls(3), journal=journal, journal_mode="keys")
        with pytest.raises(JournalError, match="cannot be counted"):
            list(calls_since(journal, datetime.now(UTC) - timedelta(days=1)))
        rules = DialRules(costly="allow", caps=(Cap(1, hours=24),), journals=(journal,))
        with pytest.raises(JournalError, match="keys only"):
            await uc.bulk(calls(3), rules=rules)
        with open_journal(journal) as rows:
            undo = Undo(rows, uc.rules, dry_run=True)
            for row in list(undo):
                with pytest.raises(LeftOut) as left:
                    undo.request(row)
                assert "not kept" in left.value.detail


async def test_keys_and_removals_do_not_go_together(client, tmp_path):
    """A removal needs to know whose calls it takes off: refused before anything is sent."""
    async with client() as uc:
        removal = RemoveContact(campaign="Ventas->", destination=PHONE)
        with pytest.raises(SettingsError, match="removals"):
            await uc.bulk([removal], journal=tmp_path / "run.journal", journal_mode="keys")
        with pytest.raises(SettingsError, match="journal_mode"):
            await uc.bulk([], journal_mode="none")


async def test_a_journal_with_requests_does_not_become_one_of_keys(client, tmp_path):
    """It is refused, with the command that makes it possible; after that it works."""
    journal = tmp_path / "run.journal"
    async with client() as uc:
        await uc.bulk(calls(3), journal=journal)
        with pytest.raises(JournalMismatch, match="purge --older 0"):
            await uc.bulk(calls(3), journal=journal, journal_mode="keys")
        assert main(["journal", "purge", str(journal), "--older", "0"]) == 0
        report = await uc.bulk(calls(3), journal=journal, journal_mode="keys")
    assert report.skipped == 3


async def test_purging_forgets_what_is_old(client, emulator, tmp_path, capsys):
    """Numbers of old rows are in no byte of the file; recent and unknown ones stay, and nothing is sent again."""
    journal = tmp_path / "run.journal"
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "reset_after_apply", "count": 1}]})
    async with client() as uc:
        await uc.bulk(calls(300), journal=journal, max_concurrency=4)
        with sqlite3.connect(journal) as db:
            db.execute("UPDATE rows SET at = at - 40 * 86400 WHERE position >= 20")
            db.execute("UPDATE rows SET at = at - 40 * 86400 WHERE status = 'unknown' AND position < 20")
        db.close()
        assert main(["journal", "purge", str(journal), "--older", "30"]) == 1
        assert "1 unknown rows are kept" in capsys.readouterr().out
        left = said(journal)
        kept = sum(f"{PHONE}{n:03d}".encode() in left for n in range(300))
        assert kept in (20, 21)
        with open_journal(journal) as rows:
            (unknown,) = rows.unknown()
            assert unknown.request is not None
            rows.resolve(unknown.key, "succeeded")
        assert main(["journal", "purge", str(journal), "--older", "0"]) == 0
        assert PHONE.encode() not in said(journal)
        assert PERSON.encode() not in said(journal)
        assert (await uc.bulk(calls(300), journal=journal)).skipped == 300
    assert len(emulator.ledger) == 300


def test_purging_what_is_no_journal(tmp_path, capsys):
    """A path that is none, and a number of days that is none, are errors of usage."""
    assert main(["journal", "purge", str(tmp_path / "none"), "--older", "1"]) == 2
    assert main(["journal", "purge", str(tmp_path / "none"), "--older", "-1"]) == 2
    assert "--older is a number of days" in capsys.readouterr().err

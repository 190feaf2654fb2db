"""``undo``, ``unknown``, ``remove`` and ``dnc add`` against an emulator in a process of its own."""

import csv
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from ucontact_async import open_journal
from ucontact_async.batch.journal_file import Header, JournalFile
from ucontact_async.cli import main

SCHEDULE, REMOVE = "Dialers/ScheduleDialerCall", "Dialers/RemoveScheduleDialerCall"
WHEN = "2099-05-05 10:00:00"


class Centre:
    """The emulator's own doors."""

    def __init__(self, url):
        self.url = url

    def ask(self, what, *, method="GET", body=None):
        """Knock at one of them."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}/_emulator/{what}", data=data, method=method), timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def faults(self, *rules):
        """Replace the rules of faults."""
        self.ask("faults", method="PUT", body={"rules": rules})

    def applied(self):
        """Count the effects by endpoint."""
        return Counter(entry["endpoint"] for entry in self.ask("ledger"))

    def there(self):
        """Count what is on schedule and spool."""
        state = self.ask("state")
        return len(state["schedule"]), len(state["spool"])


@pytest.fixture
def centre(url, monkeypatch):
    for name in [name for name in os.environ if name.startswith("UCONTACT_")]:
        monkeypatch.delenv(name)
    settings = {"URL": url, "USER": "api", "PASSWORD": "secret", "TIMEZONE": "America/Montevideo"}
    for name, value in settings.items():
        monkeypatch.setenv(f"UCONTACT_{name}", value)
    centre = Centre(url)
    centre.ask("reset", method="POST")
    return centre


@pytest.fixture
def command(capsys):
    """Run a command in this process: its exit code, its output and its errors."""
    terminate = signal.getsignal(signal.SIGTERM)

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as error:
            code = error.code
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    yield run
    signal.signal(signal.SIGTERM, terminate)


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def rows():
    return 80


@pytest.fixture
def contacts(tmp_path, rows):
    lines = [f"0900{number:05d};{WHEN};{number}" for number in range(rows)]
    return write(tmp_path / "c.csv", "destination;calldate;data.id", *lines)


@pytest.fixture
def journal(contacts):
    return contacts.with_name("c.csv.journal")


def schedule(command, contacts, *more):
    return command("schedule", contacts, "--campaign", "Ventas->", *more)


def states(journal):
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        return Counter(dict(db.execute("SELECT status, count(*) FROM calls GROUP BY status")))


def scheduled_with_faults(centre, command, contacts):
    """Schedule rows of which four are lost, two of these applied, and one is refused."""
    centre.faults(
        {"endpoint": SCHEDULE, "fault": "close_after_apply", "count": 2},
        {"endpoint": SCHEDULE, "fault": "close_before_read", "count": 2, "after": 20},
        {"endpoint": SCHEDULE, "fault": "body", "body": "0", "count": 1, "after": 40},
    )
    assert schedule(command, contacts)[0] == 3
    centre.faults()


@pytest.mark.parametrize("rows", [500])
def test_fifty_thousand_at_the_wrong_hour(centre, command, contacts, journal):
    """A dry run counts and sends nothing; the undo empties the schedule, through faults of its own."""
    scheduled_with_faults(centre, command, contacts)
    unknown = states(journal)["unknown"]
    made = 500 - states(journal)["failed"]
    before = centre.applied()
    code, out, err = command("undo", journal, "--dry-run", "--quarantine", "0")
    assert (code, centre.applied()) == (0, before)
    assert f"{made} to be removed: {SCHEDULE}" in out
    assert "nothing was sent" in err
    assert not journal.with_name("c.csv.journal.undo").exists()
    centre.faults(
        # At most two of a kind: one removal that meets three faults has no try left, and stays unknown.
        {"endpoint": REMOVE, "fault": "close_after_apply", "count": 2},
        {"endpoint": REMOVE, "fault": "close_before_read", "count": 2, "after": 60},
        {"endpoint": REMOVE, "fault": "status", "status": 503, "count": 2, "after": 120},
    )
    code, out, _ = command("undo", journal, "--quarantine", "0")
    assert code == 0, out
    assert f"{made} rows: {made} succeeded" in out
    assert centre.there() == (0, 0)
    removals = [entry["fields"] for entry in centre.ask("ledger") if entry["endpoint"] == REMOVE]
    assert len({fields["destination"] for fields in removals}) == made
    assert {(fields["campaign"], fields["from"], fields["to"]) for fields in removals} == {("Ventas->", WHEN, WHEN)}
    assert unknown >= 2
    assert states(journal) == {"undone": made, "failed": 500 - made}
    assert stat.S_IMODE(journal.with_name("c.csv.journal.undo").stat().st_mode) == 0o600


def test_after_an_undo_nothing_is_claimed_and_nothing_sent_unasked(centre, command, contacts, journal):
    """The same command says that rows were taken back; told to, it sends each once; and that can be undone again."""
    assert schedule(command, contacts)[0] == 0
    assert command("undo", journal)[0] == 0
    code, out, err = schedule(command, contacts)
    assert (code, centre.there()) == (1, (0, 0))
    assert "80 skipped: undone" in out
    assert "done before" not in out
    assert "--retry-undone" in err
    assert schedule(command, contacts, "--retry-undone")[0] == 0
    assert centre.there() == (80, 0)
    assert schedule(command, contacts)[0] == 0
    assert (centre.applied()[SCHEDULE], centre.there()) == (160, (80, 0))
    code, out, _ = command("undo", journal)
    assert (code, centre.there()) == (0, (0, 0)), out
    code, out, _ = command("undo", journal)
    assert (code, "0 rows" in out, centre.applied()[REMOVE]) == (0, True, 160)


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: SIGKILL")
@pytest.mark.parametrize("rows", [300])
def test_an_undo_that_is_killed(centre, command, contacts, journal):
    """Killed on its way it leaves no row that a run would call done though it is gone, and the same command ends it."""
    assert schedule(command, contacts)[0] == 0
    centre.faults({"endpoint": REMOVE, "fault": "latency", "seconds": 0.02})
    words = [sys.executable, "-m", "ucontact_async", "undo", str(journal), "--max-concurrency", "4"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 30
        while centre.applied()[REMOVE] < 40:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    centre.faults()
    removed = {entry["fields"]["destination"] for entry in centre.ask("ledger") if entry["endpoint"] == REMOVE}
    with open_journal(journal) as rows:
        untouched = {row.request.destination for row in rows.made() if not row.undoing}
    assert 0 < len(removed) < 300
    assert not removed & untouched
    code, out, _ = schedule(command, contacts)
    assert (code, "unknown: undoing" in out) == (3, True)
    assert centre.applied()[SCHEDULE] == 300
    code, out, _ = command("undo", journal)
    assert (code, centre.there()) == (0, (0, 0)), out
    assert states(journal) == {"undone": 300}


def test_calls_whose_answer_was_lost(centre, command, contacts, journal):
    """They are removed at once, stay unknown until they can no longer arrive, and are removed again after that."""
    scheduled_with_faults(centre, command, contacts)
    unknown = states(journal)["unknown"]
    code, out, _ = command("undo", journal)
    assert (code, centre.there()) == (3, (0, 0))
    assert f"still unknown: {unknown} calls" in out
    assert states(journal)["unknown"] == unknown
    removals = centre.applied()[REMOVE]
    assert command("undo", journal, "--quarantine", "0")[0] == 0
    assert centre.applied()[REMOVE] == removals + unknown
    assert not states(journal)["unknown"]


def test_what_cannot_be_undone_is_counted_with_its_reason(centre, command, tmp_path):
    """Passed calls, click-to-calls and tasks are left out, each said with its reason, in a file that `remove` takes."""
    past = write(tmp_path / "p.csv", "destination;calldate", "090000001;2020-05-05 10:00", f"090000002;{WHEN}")
    assert schedule(command, past, "--allow-past")[0] == 0
    code, out, _ = command("undo", f"{past}.journal")
    assert (code, "1 skipped: late" in out, centre.there()) == (1, True, (1, 0))
    code, _, err = command("remove", f"{past}.journal.undo.rejects.csv")
    assert (code, centre.there()) == (0, (0, 0)), err
    tasks = write(tmp_path / "t.csv", "destination", "090000001", "090000002")
    assert command("task", tasks, "--campaign", "Ventas->", "--mode", "priority")[0] == 0
    code, out, _ = command("undo", f"{tasks}.journal")
    assert (code, "2 skipped: no removal" in out, centre.there()) == (1, True, (0, 2))
    assert command("undo", f"{tasks}.journal", "--tasks")[0] == 0
    assert centre.there() == (0, 0)


def test_respools_are_taken_off_the_spool(centre, command, tmp_path):
    """A respool is undone by the removal of its number from the spool of its campaign."""
    rows = [f"0900{number:05d};{number};base" for number in range(20)]
    file = write(tmp_path / "r.csv", "destination;contact;dialerbase", *rows)
    assert command("respool", file, "--campaign", "Ventas<-")[0] == 0
    assert centre.there() == (0, 20)
    assert command("undo", f"{file}.journal")[0] == 0
    assert (centre.there(), centre.applied()["Dialers/RemoveContact"]) == ((0, 0), 20)


@pytest.mark.parametrize("words", [["undo"], ["unknown"]])
def test_a_journal_in_use_or_none_at_all(centre, command, contacts, journal, words):
    """A journal that a run holds, and a path where none is, are exit 2 with a sentence; nothing is sent or created."""
    code, _, err = command(*words, journal)
    assert (code, "no journal" in err, journal.exists()) == (2, True, False)
    holder = JournalFile(journal, Header(centre.url), amended=False)
    code, _, err = command(*words, journal)
    holder.close()
    assert (code, "in use" in err) == (2, True)
    assert not centre.applied()


def test_an_undo_goes_to_the_server_of_its_journal(centre, command, contacts, journal, monkeypatch):
    """Without an address it is the journal's; another one is refused."""
    assert schedule(command, contacts)[0] == 0
    code, _, err = command("undo", journal, "--url", "http://127.0.0.1:1")
    assert (code, "belongs to the server" in err) == (2, True)
    monkeypatch.delenv("UCONTACT_URL")
    assert command("undo", journal)[0] == 0
    assert centre.there() == (0, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--quarantine", "nan"], "--quarantine"),
        (["--max-concurrency", "0"], "--max-concurrency"),
        (["--timezone", ""], "time zone"),
        (["--report", "JOURNAL"], "holds no rejects"),
    ],
)
def test_usage_errors_of_undo(centre, command, contacts, journal, words, said, monkeypatch):
    """What cannot work is exit 2 with a sentence, and nothing is removed."""
    assert schedule(command, contacts)[0] == 0
    if "--timezone" in words:
        monkeypatch.delenv("UCONTACT_TIMEZONE")
        words = []
    code, _, err = command("undo", journal, *[journal if word == "JOURNAL" else word for word in words])
    assert (code, said in err, centre.there()) == (2, True, (80, 0))


class TestUnknown:
    """``unknown JOURNAL``."""

    @pytest.fixture
    def lost(self, centre, command, tmp_path):
        """The journal of three calls, two of which are unknown: one was applied, one was not."""
        centre.faults(
            {"endpoint": SCHEDULE, "fault": "close_after_apply", "match": {"destination": "090000001"}},
            {"endpoint": SCHEDULE, "fault": "close_before_read", "match": {"destination": "090000002"}},
        )
        rows = [f"09000000{number};{WHEN}" for number in (1, 2, 3)]
        file = write(tmp_path / "c.csv", "destination;calldate", *rows)
        assert schedule(command, file)[0] == 3
        centre.faults()
        return Path(f"{file}.journal")

    def keys(self, journal):
        """Return the keys of the unknown rows by number."""
        with open_journal(journal) as rows:
            return {row.request.destination: row.key for row in rows.unknown()}

    def test_the_list(self, command, lost):
        """It names each row, where to look, and the number only when asked; and exits 3 while something is unknown."""
        code, out, _ = command("unknown", lost)
        assert code == 3
        for key in self.keys(lost).values():
            assert key in out
        assert ("09000****" in out, "090000001" in out) == (True, False)
        assert "scheduled calls: is this number there" in out
        code, out, _ = command("unknown", lost, "--show")
        assert "090000001" in out

    def test_settling_by_hand(self, centre, command, lost):
        """What a person found out is what the next run goes by: nothing twice, nothing lost."""
        keys = self.keys(lost)
        code, out, _ = command("unknown", lost, "--set", f"{keys['090000001']}=succeeded")
        assert (code, keys["090000001"] in out, keys["090000002"] in out) == (3, False, True)
        code, out, _ = command("unknown", lost, "--set", f"{keys['090000002']}=failed")
        assert (code, out) == (0, "no row is unknown\n")
        code, out, _ = schedule(command, lost.with_name("c.csv"))
        assert (code, "1 succeeded" in out, "2 skipped: done before" in out) == (0, True, True)
        assert Counter(entry["fields"]["destination"] for entry in centre.ask("ledger")) == {
            "090000001": 1,
            "090000002": 1,
            "090000003": 1,
        }

    def test_settling_by_file(self, command, lost, tmp_path):
        """The list as CSV, its column status filled in, is taken back; rows without an answer stay unknown."""
        file = tmp_path / "unknown.csv"
        assert command("unknown", lost, "--csv", file)[0] == 3
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.DictReader(text, delimiter=";"))
        assert [(row["row"], row["destination"], row["calldate"]) for row in rows] == [
            ("2", "09000****", WHEN),
            ("3", "09000****", WHEN),
        ]
        answers = write(tmp_path / "answers.csv", "key;status", f"{rows[0]['key']};Succeeded", f"{rows[1]['key']}; ")
        assert command("unknown", lost, "--from", answers)[0] == 3
        assert states(lost) == {"succeeded": 2, "unknown": 1}
        code, _, err = command("unknown", lost, "--csv", file)
        assert (code, "unknown.csv cannot be used: File exists" in err) == (2, True)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--set", "abc"], "--set"),
            (["--set", "abc=done"], "'done'"),
            (["--set", "abc=failed"], "no unknown row"),
            (["--set", "abc=failed", "--set", "abc=succeeded"], "both"),
            (["--from", "none.csv"], "cannot be read"),
        ],
    )
    def test_answers_that_cannot_be_taken(self, command, lost, words, said):
        """They are exit 2 with a sentence, and nothing is settled."""
        code, _, err = command("unknown", lost, *words)
        assert (code, said in err) == (2, True)
        assert states(lost)["unknown"] == 2

    def test_a_file_without_the_columns(self, command, lost, tmp_path):
        """A file that cannot hold answers is named with what it lacks."""
        code, _, err = command("unknown", lost, "--from", write(tmp_path / "a.csv", "key;answer", "a;b"))
        assert (code, "no column status" in err) == (2, True)


class TestRemove:
    """``remove FILE``."""

    def test_spool_and_schedule(self, centre, command, tmp_path):
        """A row without a range goes by the spool, one with a range by the schedule; what is lost is repeated."""
        centre.faults({"endpoint": "Dialers/*", "fault": "close_after_apply", "count": 2})
        rows = ["090000001;;", "090000002;2099-05-05 00:00;2099-05-05 23:59:59", "090000003;2099-05-05 00:00;"]
        file = write(tmp_path / "r.csv", "destination;since;until", *rows)
        code, out, _ = command("remove", file, "--campaign", "Ventas->")
        assert (code, "2 succeeded" in out, "1 skipped: invalid" in out) == (1, True, True)
        fields = [entry["fields"] for entry in centre.ask("ledger")]
        assert {"campaign": "Ventas->", "number": "090000001"} in fields
        span = {"from": "2099-05-05 00:00:00", "to": "2099-05-05 23:59:59"}
        assert {"campaign": "Ventas->", "destination": "090000002"} | span in fields
        code, out, _ = command("remove", file, "--campaign", "Ventas->")
        assert "2 skipped: done before" in out

    def test_unknown_removals_are_sent_again(self, centre, command, tmp_path):
        """The report says so, and the same command does it."""
        centre.faults({"endpoint": "Dialers/*", "fault": "close_after_apply"})
        file = write(tmp_path / "r.csv", "destination", "090000001")
        code, out, _ = command("remove", file, "--campaign", "Ventas->")
        assert (code, "sends these again" in out) == (3, True)
        centre.faults()
        assert command("remove", file, "--campaign", "Ventas->")[0] == 0


class TestDoNotCall:
    """``dnc add FILE|NUMBER``."""

    def test_a_file(self, centre, command, tmp_path):
        """Without a campaign a number is blocked for all; the same command again sends nothing."""
        rows = ["090000001;Ana;", "090000002;;Ventas->"]
        file = write(tmp_path / "d.csv", "destination;name;campaign", *rows)
        assert command("dnc", "add", file)[0] == 0
        fields = [entry["fields"] for entry in centre.ask("ledger")]
        assert sorted((entry["phone"], entry["campaign"], entry["name"]) for entry in fields) == [
            ("090000001", "*", "Ana"),
            ("090000002", "Ventas->", ""),
        ]
        code, out, _ = command("dnc", "add", file)
        assert (code, "2 skipped: done before" in out) == (0, True)

    def test_a_number(self, centre, command, tmp_path, monkeypatch):
        """One number needs no file, and leaves none."""
        monkeypatch.chdir(tmp_path)
        assert command("dnc", "add", "099123456", "--campaign", "Ventas->")[0] == 0
        assert [entry["fields"]["campaign"] for entry in centre.ask("ledger")] == ["Ventas->"]
        code, _, err = command("dnc", "add", "099123456", "--retry-refused")
        assert (code, "only where --journal names it" in err) == (2, True)
        code, out, err = command("dnc", "add", "0", "--dry-run")
        assert (code, "1 skipped: invalid" in out, "destination" in err) == (1, True, True)
        code, out, _ = command("dnc", "add", "099123457", "--dry-run")
        assert (code, "admin/addblack" in out, "099123457" in out) == (0, True, False)
        assert list(tmp_path.iterdir()) == []

    def test_what_is_neither(self, centre, command):
        """A name of no file and no number is exit 2."""
        code, _, err = command("dnc", "add", "numbers.csv")
        assert (code, "cannot be read" in err) == (2, True)

import asyncio
import csv
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from ucontact_async.batch.sources import CsvSource

COMMAND = [sys.executable, "-m", "ucontact_async"]


@contextmanager
def served(*arguments):
    """Run the emulator as its own process and yield its address."""
    process = subprocess.Popen([*COMMAND, "emulator", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        yield line.removeprefix("listening on ").strip()
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.stdout.close()


@pytest.fixture(autouse=True)
def _clean_server(url):
    ask(url, "reset", method="POST")


def ask(url, what, *, method="GET", body=None):
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{url}/_emulator/{what}", data=data, method=method), timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def run(url, *arguments, **environment):
    env = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")}
    env |= {
        "UCONTACT_URL": url,
        "UCONTACT_USER": "api",
        "UCONTACT_PASSWORD": "secret",
        "UCONTACT_TIMEZONE": "America/Montevideo",
    }
    env |= environment
    return subprocess.run([*COMMAND, *arguments], env=env, capture_output=True, text=True, timeout=50, check=False)


def applied(url):
    return Counter(entry["fields"]["destination"] for entry in ask(url, "ledger"))


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


ROWS = [f"0900{n:05d};2099-05-05 10:00" for n in range(50)]
HEADER = "destination;calldate"


@pytest.fixture
def contacts(tmp_path):
    return write(tmp_path / "contacts.csv", HEADER, *ROWS)


def schedule(url, file, *arguments, **environment):
    return run(url, "schedule", file, "--campaign", "Ventas->", *arguments, **environment)


def test_a_file_is_scheduled_and_a_second_run_sends_nothing(url, contacts, tmp_path):
    """Every row is applied once; the same command again finds all of them done; both exit 0."""
    first = schedule(url, contacts)
    assert (first.returncode, first.stderr.count("\r")) == (0, 0)
    assert "50 rows: 50 succeeded" in first.stdout
    second = schedule(url, contacts)
    assert second.returncode == 0
    assert "50 skipped: done before" in second.stdout
    assert set(applied(url).values()) == {1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "contacts.csv",
        "contacts.csv.journal",
        "contacts.csv.journal-lock",
    ]


def test_what_is_not_done_goes_to_a_file_that_can_be_mended(url, tmp_path):
    """The rejects, mended and fed back with the same journal, send only the mended rows."""
    file = write(
        tmp_path / "c.csv", HEADER, "090000001;2099-05-05 10:00", "0900 0002;2099-05-05 10:00", "090000003;soon"
    )
    first = schedule(url, file)
    assert first.returncode == 1
    rejects = tmp_path / "c.csv.rejects.csv"
    rows = list(CsvSource(rejects))
    assert [(row.fields["row"], row.fields["outcome"]) for row in rows] == [("3", "invalid"), ("4", "invalid")]
    assert "calldate" in rows[1].fields["reason"]
    mended = rejects.read_text(encoding="utf-8-sig").replace("0900 0002", "090000002")
    rejects.write_text(mended, encoding="utf-8-sig")
    second = schedule(url, str(rejects), "--journal", f"{file}.journal", "--amended")
    assert second.returncode == 1
    assert "2 rows: 1 succeeded, 0 failed, 0 unknown, 1 skipped" in second.stdout
    assert applied(url) == {"090000001": 1, "090000002": 1}


def test_unknown_and_duplicate_rows_are_held_back_in_a_rejects_file(url, tmp_path):
    """Fed back even without their journal, rows that may ring already are not sent."""
    ask(
        url,
        "faults",
        method="PUT",
        body={"rules": [{"endpoint": "Dialers/*", "fault": "close_after_apply", "count": 1}]},
    )
    file = write(tmp_path / "c.csv", HEADER, "090000001;2099-05-05 10:00", "090000001;2099-05-05 10:00")
    assert schedule(url, file).returncode == 3
    again = schedule(url, f"{file}.rejects.csv")
    assert again.returncode == 1
    assert "2 skipped: invalid" in again.stdout
    assert applied(url) == {"090000001": 1}


def test_a_row_inserted_at_the_top_of_a_half_done_file(url, contacts, tmp_path):
    """A changed file is refused without --amended; with it nothing is sent twice and the new row is."""
    ask(
        url,
        "faults",
        method="PUT",
        body={"rules": [{"endpoint": "Dialers/*", "fault": "body", "body": "0", "after": 25}]},
    )
    assert schedule(url, contacts, "--max-failures", "0").returncode == 4
    done = len(ask(url, "ledger"))
    assert 0 < done < 50
    ask(url, "faults", method="PUT", body={"rules": []})
    write(tmp_path / "contacts.csv", HEADER, "090099999;2099-05-05 10:00", *ROWS)
    refused = schedule(url, contacts)
    assert (refused.returncode, len(ask(url, "ledger"))) == (2, done)
    assert "--amended" in refused.stderr
    assert schedule(url, contacts, "--amended", "--retry-refused").returncode == 0
    assert set(applied(url).values()) == {1}
    assert len(applied(url)) == 51


def test_a_dry_run_shows_the_bodies_and_sends_nothing(url, contacts):
    """--dry-run prints each request with its numbers hidden, needs no password, and leaves no journal."""
    shown = schedule(url, contacts, "--dry-run", UCONTACT_PASSWORD="", UCONTACT_URL="")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("row 2: POST /Integra/resources/Dialers/ScheduleDialerCall callschedule=%7B%22campaign")
    assert "09000****" in lines[0]
    assert "090000000" not in shown.stdout
    assert ask(url, "ledger") == []
    assert not Path(f"{contacts}.journal").exists()


@pytest.mark.parametrize(
    ("mode", "extra", "expected"),
    [
        ("priority", [], {"bulk": False, "automatic": True, "calldate": None}),
        ("scheduled", [], {"bulk": True, "automatic": False, "calldate": "2099-05-05 10:00:00"}),
        ("dialer", [], {"bulk": True, "automatic": True, "calldate": None}),
        ("now", ["--max-per-second", "100"], {"bulk": False, "automatic": False, "calldate": None}),
    ],
)
def test_tasks_in_their_four_modes(url, contacts, mode, extra, expected):
    """Task FILE --mode sends what the page documents for that use."""
    result = run(url, "task", contacts, "--campaign", "Ventas<-", "--mode", mode, *extra)
    assert result.returncode == 0, result.stderr
    entries = ask(url, "ledger")
    assert len(entries) == 50
    assert {key: entries[0]["fields"][key] for key in expected} == expected


def test_a_respool_file(url, tmp_path):
    """Respool FILE sends contact, list and priority of each row, with the constant status."""
    file = write(
        tmp_path / "r.csv",
        "destination,contact,dialerbase,alternatives,data.id",
        "090000001,7,base1,090000002:090000003,x",
    )
    assert run(url, "respool", file, "--campaign", "Ventas<-").returncode == 0
    (entry,) = ask(url, "ledger")
    assert entry["fields"] == {
        "status": 1,
        "campaign": "Ventas<-",
        "destination": "090000001",
        "dialerbase": "base1",
        "contact": 7,
        "alternatives": "090000002:090000003",
        "data": "id=x",
        "retries": 0,
        "priority": 9999,
        "agentphone": "",
    }


def test_foreign_column_names(url, tmp_path):
    """--map names the file's columns; a missing one is exit 2 with the option to say."""
    file = write(tmp_path / "f.csv", "Telefono|Fecha|Nombre", "090000001|2099-05-05 10:00|Ñandú")
    missing = schedule(url, file)
    assert missing.returncode == 2
    assert "--map destination='Telefono'" in missing.stderr
    mapped = ["--map", "destination=Telefono", "--map", "calldate=Fecha", "--map", "data.nombre=Nombre"]
    assert schedule(url, file, *mapped).returncode == 0
    assert ask(url, "ledger")[0]["fields"]["data"] == "nombre=Ñandú"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-concurrency", "0"], "--max-concurrency"),
        (["--max-concurrency", "9" * 5000], "--max-concurrency"),
        (["--max-failures", "9" * 5000], "max_failures"),
        (["--no-journal", "--amended"], "--no-journal"),
        (["--max-failures", "some"], "max_failures"),
        (["--map", "destination"], "--map"),
        (["--timezone", "Montevideo"], "IANA"),
        (["--campaign", "Ventas"], "arrow"),
    ],
)
def test_usage_errors_exit_2_and_send_nothing(url, contacts, arguments, said):
    """What cannot work is refused with a sentence before anything is sent."""
    result = run(
        url, "schedule", contacts, *(["--campaign", "Ventas->"] if "--campaign" not in arguments else []), *arguments
    )
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert ask(url, "ledger") == []


def test_a_campaign_that_contradicts_the_option(url, tmp_path):
    """Another campaign in the file than in --campaign is exit 2, wherever in the file, and nothing is sent."""
    rows = [f"0900{n:05d};2099-05-05 10:00;Ventas->" for n in range(600)]
    file = write(tmp_path / "f.csv", f"{HEADER};campaign", *rows, "090099999;2099-05-05 10:00;Otra->")
    result = schedule(url, file)
    assert result.returncode == 2
    assert "row 602" in result.stderr
    assert ask(url, "ledger") == []


def test_now_needs_a_pace(url, contacts):
    """--mode now without --max-per-second is exit 2: it would ring every customer at once."""
    result = run(url, "task", contacts, "--campaign", "Ventas->", "--mode", "now")
    assert (result.returncode, "--max-per-second" in result.stderr) == (2, True)


def test_a_wrong_password_is_exit_2(url, contacts):
    """A refused login ends before the first row, without the password in any output."""
    result = schedule(url, contacts, UCONTACT_PASSWORD="wr0ng-pw")
    assert result.returncode == 2
    assert "wr0ng-pw" not in result.stdout + result.stderr
    assert ask(url, "ledger") == []


def test_a_server_that_is_not_there_is_exit_4(contacts):
    """Nothing was sent and the same command resumes, so it is a stop and no usage error."""
    assert schedule("http://127.0.0.1:1", contacts).returncode == 4


def test_unknown_rows_are_exit_3_now_and_later(url, contacts):
    """Some unknown outcomes end in exit 3, also in a later run that finds them in its journal."""
    ask(
        url,
        "faults",
        method="PUT",
        body={"rules": [{"endpoint": "Dialers/*", "fault": "close_after_apply", "count": 2}]},
    )
    first = schedule(url, contacts)
    assert (first.returncode, "2 unknown" in first.stdout) == (3, True)
    assert schedule(url, contacts).returncode == 3
    assert set(applied(url).values()) == {1}


def test_whoever_stops_reading_changes_nothing(url, contacts):
    """A run whose output nobody reads to the end, as ``| head`` does, makes its calls and ends as any other."""
    environment = os.environ | {"UCONTACT_URL": url, "UCONTACT_USER": "api", "UCONTACT_PASSWORD": "secret"}
    environment |= {"UCONTACT_TIMEZONE": "America/Montevideo"}
    command = [*COMMAND, "schedule", contacts, "--campaign", "Ventas->"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.close()
        assert process.wait(30) == 0
    assert len(applied(url)) == 50


def test_what_is_said_can_be_typed(url, tmp_path):
    """What a stopped run names to resume by, and where to look, are whole commands, whatever the file is called."""
    file = write(tmp_path / "my contacts.csv", HEADER, *ROWS)
    rule = {"endpoint": "Dialers/*", "fault": "close_after_apply"}
    ask(url, "faults", method="PUT", body={"rules": [rule]})
    stopped = schedule(url, file, "--max-unknown", "1")
    ask(url, "faults", method="PUT", body={"rules": []})
    (again,) = re.findall("run the same command again: (.+)", stopped.stderr)
    environment = os.environ | {"UCONTACT_URL": url, "UCONTACT_USER": "api", "UCONTACT_PASSWORD": "secret"}
    environment |= {"UCONTACT_TIMEZONE": "America/Montevideo"}
    assert subprocess.run(shlex.split(again), env=environment, capture_output=True, check=False).returncode == 3
    assert len(applied(url)) == 50
    counted = run(url, "report", f"{file}.journal")
    (look,) = re.findall("settle them: ucontact-async (.+)", counted.stderr)
    assert run(url, *shlex.split(look)).stdout.count("ReplyLost") == 50 - int(
        re.findall(r"(\d+) succ", counted.stdout)[0]
    )


def test_what_the_terminal_cannot_show_ends_no_run(url, tmp_path):
    """Spanish on a terminal of ASCII, and a file whose name is no text, are told as well as can be."""
    file = write(tmp_path / os.fsdecode(b"n\xfameros.csv"), HEADER, *ROWS, "x;2099-05-05 10:00")
    done = schedule(url, file, UCONTACT_LANG="es", PYTHONIOENCODING="ascii:strict")
    assert (done.returncode, "n\\udcfameros.csv.rejects.csv" in done.stdout, done.stderr.count("Traceback")) == (
        1,
        True,
        0,
    )


def test_the_password_may_come_from_a_file(url, contacts, tmp_path):
    """UCONTACT_PASSWORD_FILE names a file with the password."""
    secret = write(tmp_path / "pw", "secret")
    Path(secret).chmod(0o600)
    assert schedule(url, contacts, UCONTACT_PASSWORD="", UCONTACT_PASSWORD_FILE=secret).returncode == 0


def test_encodings_and_separators(url, tmp_path):
    """A Windows-1252 file with tabs and a UTF-8 one with BOM and commas both arrive with their accents."""
    windows = tmp_path / "w.csv"
    windows.write_bytes("destination\tcalldate\tdata.n\n090000001\t2099-05-05 10:00\tJosé\n".encode("cp1252"))
    utf8 = tmp_path / "u.csv"
    utf8.write_bytes("destination,calldate,data.n\n090000002,2099-05-05T10:00:00,Ñu\n".encode("utf-8-sig"))
    one = schedule(url, str(windows))
    assert "Windows-1252" in one.stderr
    assert schedule(url, str(utf8)).returncode == one.returncode == 0
    assert [entry["fields"]["data"] for entry in ask(url, "ledger")] == ["n=José", "n=Ñu"]


def test_the_demo_balances_its_books():
    """The demo exits 0, says that the books agree, and leaves its files in the folder it names."""
    result = subprocess.run([*COMMAND, "demo", "--seed", "7"], capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the books agree" in result.stdout
    folder = next(line for line in result.stdout.splitlines() if line.startswith("files: ")).split()[1]
    folder = Path(folder)
    assert {"contacts.csv", "rejects.csv", "report.txt", "journal.db"} <= {path.name for path in folder.iterdir()}
    with (folder / "rejects.csv").open(encoding="utf-8-sig", newline="") as file:
        outcomes = Counter(row["outcome"] for row in csv.DictReader(file, delimiter=";"))
    assert outcomes["duplicate"] == 2
    assert outcomes["invalid"] == 4
    assert outcomes["unknown"] > 5


async def test_the_demo_notices_books_that_differ(emulator):
    """The comparison names a call applied twice, one lost and one that nobody asked for."""
    from datetime import datetime

    from ucontact_async import Outcome, ScheduledCall, Status
    from ucontact_async.cli.demo import compare

    def outcome(number, status):
        request = ScheduledCall(campaign="V->", destination=number, calldate=datetime(2099, 5, 5, 10))
        return Outcome(index=0, status=status, key="k", request=request)

    def did(number):
        fields = {"destination": number, "calldate": "2099-05-05 10:00:00"}
        emulator.ledger.record("Dialers/ScheduleDialerCall", fields)

    ours = [
        outcome("0901", Status.SUCCEEDED),
        outcome("0902", Status.SUCCEEDED),
        outcome("0903", Status.FAILED),
        outcome("0904", Status.UNKNOWN),
        outcome("0905", Status.SUCCEEDED),
    ]
    for number in ("0901", "0901", "0903", "0904", "0905", "0999"):
        did(number)
    settled, contradictions = compare(ours, emulator)
    assert settled == {"applied": 1}
    assert len(contradictions) == 4 + 1  # 0901 is both twice and once too often
    await asyncio.sleep(0)

"""``ucontact-async upload``: a file as lists, nothing while a row is bad, every file once over several runs."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch
from urllib.request import Request, urlopen

import pytest

from ucontact_async.cli import main

COMMAND = [sys.executable, "-m", "ucontact_async"]
UPLOAD = "Dialers/uploadbase"


@pytest.fixture(autouse=True)
def _clean_server(url):
    ask(url, "reset", method="POST")


def ask(url, what, *, method="GET", body=None):
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{url}/_emulator/{what}", data=data, method=method), timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def strike(url, *rules):
    ask(url, "faults", method="PUT", body={"rules": [{"endpoint": "Dialers/*", **rule} for rule in rules]})


def environment(url, **more):
    env = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")}
    return env | {"UCONTACT_URL": url, "UCONTACT_USER": "api", "UCONTACT_PASSWORD": "secret"} | more


def upload(url, file, *arguments, campaign="Ventas->", **more):
    """Run the command in this process: a start of Python for each would take most of the time."""
    out, err = io.StringIO(), io.StringIO()
    arguments = ["upload", str(file), "--campaign", campaign, *arguments]
    with patch.dict(os.environ, environment(url, **more), clear=True), redirect_stdout(out), redirect_stderr(err):
        before = signal.getsignal(signal.SIGTERM)
        try:
            code = main(arguments)
        finally:
            signal.signal(signal.SIGTERM, before)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def contents(url):
    return [entry["fields"]["fileb64"].split("\n") for entry in ask(url, "ledger")]


def lines_of(url):
    return [line for content in contents(url) for line in content]


HEADER = "destination;data.id;priority"
ROWS = [f"0990{n:05d};{n};{n % 9 + 1}" for n in range(25)]


def write(path, *lines, encoding="utf-8"):
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


@pytest.fixture
def contacts(tmp_path):
    return write(tmp_path / "mayo 2027.csv", HEADER, *ROWS)


def test_a_file_becomes_lists(url, contacts, tmp_path):
    """Every row is in one list, in order; each list is named after the file and said to be queued."""
    result = upload(url, contacts, "--rows-per-file", "10")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.rpartition(": ")[2] for line in lines[:3]] == ["accepted"] * 3
    assert "(10 rows, lines 2 to 11)" in lines[0]
    assert lines[3].startswith("3 lists: 3 accepted, 0 refused, 0 unknown, 0 not sent in ")
    assert "inactive" in lines[4]
    assert lines_of(url) == [f"Ventas->;0990{n:05d};id={n};;{n % 9 + 1}" for n in range(25)]
    entries = ask(url, "ledger")
    assert [entry["fields"]["filename"] for entry in entries] == [line.partition(" ")[0] for line in lines[:3]]
    assert all(entry["fields"]["filename"].startswith("mayo_2027-") for entry in entries)
    assert {entry["fields"]["username"] for entry in entries} == {"api"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mayo 2027.csv",
        "mayo 2027.csv.journal",
        "mayo 2027.csv.journal-lock",
    ]


def test_a_second_run_uploads_nothing(url, contacts):
    """The journal knows what is queued; without one everything would go out again."""
    assert upload(url, contacts).returncode == 0
    again = upload(url, contacts)
    assert (again.returncode, len(ask(url, "ledger"))) == (0, 1)
    assert "accepted: an earlier run did it" in again.stdout
    assert upload(url, contacts, "--no-journal").returncode == 0
    assert len(ask(url, "ledger")) == 2


def test_all_columns(url, tmp_path):
    """Typed numbers, several alternatives, the agent's extension and foreign names of columns."""
    file = write(
        tmp_path / "f.csv",
        "Telefono|alternatives|agentphone|priority|Nombre|x",
        "M=2=099111222|H=0=24001111:24002222|1001|1|Ñandú|y",
        encoding="cp1252",
    )
    mapped = ["--map", "destination=Telefono", "--map", "data.nombre=Nombre"]
    result = upload(url, file, *mapped, "--timezone-of-list", "Asia/Tokyo", "--name", "list", "--user", "api")
    assert result.returncode == 0, result.stderr
    assert "columns not used: x" in result.stderr
    (entry,) = ask(url, "ledger")
    assert entry["endpoint"] == "Dialers/uploadbasewithtimezone"
    assert entry["fields"]["timezone"] == "Asia/Tokyo"
    assert entry["fields"]["fileb64"] == "Ventas->;M=2=099111222;nombre=Ñandú;H=0=24001111:24002222;1;1001"
    assert entry["fields"]["filename"].startswith("list-")


BAD = [
    ("Ana;1;1", ", column Telefono: "),
    (";1;1", ", column Telefono: is empty"),
    ("X=0=0991;1;1", ", column Telefono: is not a typed number"),
    ("P=0=0991;1;1", ", column Telefono: 'P' is no kind"),
    ("0991;a:b;1", ", column data.id: holds one of"),
    ("0991;a=b;1", ", column data.id: holds one of"),
    ('0991;"a;b";1', ", column data.id: holds one of"),
    ("0991;1;0", ", column priority: "),
    ("0991;1;10000", ", column priority: "),
    ("0991;1;first", ", column priority: "),
    ("0990;1;1", ", column Telefono: is that of row 2"),
    ("0991;1;1;4", ": has 4 cells"),
    ('0991;"a\nVentas->";1', ", column data.id: holds one of"),
]


def test_a_bad_row_stops_everything(url, tmp_path):
    """Each is named by its line and the file's column, and nothing is sent; left out, the others are."""
    file = write(tmp_path / "f.csv", "Telefono;data.id;priority", "0990;1;1", *(row for row, _ in BAD), "0992;1;1")
    mapped = ["--map", "destination=Telefono"]
    result = upload(url, file, *mapped)
    assert result.returncode == 1
    named = [line for line in result.stderr.splitlines() if line.startswith("row ")]
    for line, (number, (_, said)) in zip(named, enumerate(BAD, 3), strict=True):
        assert line.startswith(f"row {number}{said}")
    assert "13 rows break a rule" in result.stderr
    assert "nothing was sent" in result.stderr
    assert ask(url, "ledger") == []
    assert [path.name for path in tmp_path.iterdir()] == ["f.csv"]
    result = upload(url, file, *mapped, "--skip-bad")
    assert result.returncode == 1
    assert [line.split(";")[1] for line in lines_of(url)] == ["0990", "0992"]
    with (tmp_path / "f.csv.rejects.csv").open(encoding="utf-8-sig", newline="") as rejects:
        left = [(row["row"], row["outcome"]) for row in csv.DictReader(rejects, delimiter=";")]
    assert left == [(str(n), "duplicate" if "row 2" in said else "invalid") for n, (_, said) in enumerate(BAD, 3)]


def test_rows_that_a_rule_forbids_are_named_and_left_out(url, tmp_path):
    """With --rules each forbidden row is named by its line and rule and is a reject; a list that changed is seen."""
    file = write(tmp_path / "f.csv", "destination;alternatives", "0990;", "0991;", "0992;0609123", "0993;")
    listed = write(tmp_path / "dnc.txt", "0991")
    document = ['premium = ["0609"]', "[[do_not_call]]", 'file = "dnc.txt"', "[[caps]]", "calls = 1", "hours = 1"]
    rules = ["--rules", str(write(tmp_path / "rules.toml", *document))]
    result = upload(url, file, *rules)
    assert result.returncode == 1
    assert "row 3: blocked: do not call: a number is on the list" in result.stderr
    assert "row 4: blocked: premium: a number is premium" in result.stderr
    assert ask(url, "ledger") == []
    assert upload(url, file, *rules, "--skip-bad").returncode == 1
    assert [line.split(";")[1] for line in lines_of(url)] == ["0990", "0993"]
    with (tmp_path / "f.csv.rejects.csv").open(encoding="utf-8-sig", newline="") as rejects:
        left = [(row["row"], row["outcome"]) for row in csv.DictReader(rejects, delimiter=";")]
    assert left == [("3", "blocked: do not call"), ("4", "blocked: premium")]
    listed.write_text("0990\n0991\n")
    assert upload(url, file, *rules, "--skip-bad").returncode == 2  # other lists than those that were sent


def test_very_many_bad_rows(url, tmp_path):
    """The first twenty are named, all are counted."""
    file = write(tmp_path / "f.csv", "destination", *["x"] * 30)
    result = upload(url, file)
    assert result.stderr.count("column destination") == 20
    assert "30 rows break a rule; the first 20 are named" in result.stderr
    assert upload(url, file, "--skip-bad").returncode == 1


def test_numbers_that_may_be_there_twice(url, tmp_path):
    """--on-duplicate allow takes two contacts with one number."""
    file = write(tmp_path / "f.csv", "destination;data.id", "0991;1", "0991;2")
    assert upload(url, file, "--on-duplicate", "allow").returncode == 0
    assert len(contents(url)[0]) == 2


def test_a_dry_run_sends_nothing(url, contacts, tmp_path):
    """It needs no server and no password, and names the files that would be sent."""
    result = upload(url, contacts, "--rows-per-file", "10", "--dry-run", UCONTACT_URL="", UCONTACT_PASSWORD="")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("would be sent") == 3
    assert (ask(url, "ledger"), len(list(tmp_path.iterdir()))) == ([], 1)
    sent = upload(url, contacts, "--rows-per-file", "10")
    names = [line.partition(" ")[0] for line in sent.stdout.splitlines()[:3]]
    assert names == [line.partition(" ")[0] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("rule", "status", "codes", "applied"),
    [
        ({"fault": "close_after_apply"}, "unknown", (4, 3), [2, 3]),
        ({"fault": "reset_after_read"}, "unknown", (4, 3), [1, 2]),
        ({"fault": "body", "body": "0"}, "refused", (4, 1), [1, 2]),
        ({"fault": "status", "status": 413}, "refused", (4, 1), [1, 2]),
    ],
)
def test_a_file_that_is_not_accepted_ends_the_run(url, contacts, rule, status, codes, applied):
    """The same command goes on with the files after it and never sends an unknown one again."""
    strike(url, {**rule, "after": 1, "count": 1})
    first = upload(url, contacts, "--rows-per-file", "10")
    assert (first.returncode, len(ask(url, "ledger"))) == (codes[0], applied[0]), first.stderr
    assert [f"): {status}: " in line for line in first.stdout.splitlines()[:3]] == [False, True, False]
    assert first.stdout.splitlines()[2].endswith(": not sent")
    assert "run the same command again" in first.stderr
    second = upload(url, contacts, "--rows-per-file", "10")
    assert (second.returncode, len(ask(url, "ledger"))) == (codes[1], applied[1]), second.stderr
    if status == "refused":
        assert upload(url, contacts, "--rows-per-file", "10", "--retry-refused").returncode == 0
    assert (
        len({str(content) for content in contents(url)}) == len(contents(url)) == (applied[1] + (status == "refused"))
    )


@pytest.mark.parametrize(("fault", "code"), [({"fault": "close_after_apply"}, 3), ({"fault": "body", "body": "0"}, 1)])
def test_the_only_file(url, contacts, fault, code):
    """Where nothing is left to send, the exit code tells what became of it."""
    strike(url, fault)
    result = upload(url, contacts)
    assert result.returncode == code
    assert ("portal" in result.stdout) is (code == 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows-per-file", "0"], "rows_per_file"),
        (["--name", "Resumen"], "does not begin with R"),
        (["--name", "a b"], "1 to 39"),
        (["--map", "destination"], "--map"),
        (["--map", "destination=Telefono"], "has no column"),
        (["--no-journal", "--retry-refused"], "--no-journal"),
        (["--timezone-of-list", " "], "timezone"),
    ],
)
def test_usage_errors(url, contacts, arguments, said):
    """What cannot work is refused with a sentence, and nothing is sent."""
    result = upload(url, contacts, *arguments)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert ask(url, "ledger") == []


def test_a_campaign_without_its_arrow(url, contacts):
    """It is refused, as is a file whose rows name another one."""
    assert upload(url, contacts, campaign="Ventas").returncode == 2
    write(contacts, "destination;campaign", "0991;Ventas->", "0992;Otra->")
    result = upload(url, contacts)
    assert (result.returncode, "row 3" in result.stderr) == (2, True)
    assert ask(url, "ledger") == []


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [([], True), (["--rows-per-file", "5"], False), (["--name", "junio"], False), (["--skip-bad"], False)],
)
def test_another_file_or_other_options_do_not_resume(url, contacts, arguments, changed):
    """Every list would be a new one, and whoever is in an accepted one would be called twice."""
    assert upload(url, contacts).returncode == 0
    if changed:
        write(contacts, HEADER, *ROWS, "099999;1;1")
    result = upload(url, contacts, *arguments)
    assert result.returncode == 2
    assert "belongs to" in result.stderr
    assert "only the same file and options resume" in result.stderr
    assert "--amended" not in result.stderr
    assert len(ask(url, "ledger")) == 1


def test_who_uploads(url, contacts):
    """A token has no user, and a list has one; a wrong password is exit 2 without being shown."""
    result = upload(url, contacts, UCONTACT_USER="", UCONTACT_PASSWORD="", UCONTACT_TOKEN="x" * 20)
    assert (result.returncode, "UCONTACT_USER" in result.stderr) == (2, True)
    result = upload(url, contacts, UCONTACT_PASSWORD="wr0ng-pw")
    assert result.returncode == 2
    assert "wr0ng-pw" not in result.stdout + result.stderr
    assert ask(url, "ledger") == []


def test_a_server_that_is_not_there(contacts):
    """Nothing was sent, and the same command resumes."""
    assert upload("http://127.0.0.1:1", contacts).returncode == 4


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: signals")
def test_a_signal_ends_after_the_file_on_the_wire(url, contacts):
    """The file on its way is settled, the others wait for the same command."""
    strike(url, {"fault": "latency", "seconds": 0.3})
    command = [*COMMAND, "upload", str(contacts), "--campaign", "Ventas->", "--rows-per-file", "10"]
    process = subprocess.Popen(command, env=environment(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not ask(url, "state")["in_flight"]:
        time.sleep(0.02)
    process.terminate()
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 4
    assert "1 accepted, 0 refused, 0 unknown, 2 not sent" in out
    strike(url)
    assert upload(url, contacts, "--rows-per-file", "10").returncode == 0
    assert len(ask(url, "ledger")) == 3


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: SIGKILL")
def test_a_kill_leaves_the_file_on_the_wire_unknown(url, contacts):
    """Killed in the middle of a file, the next run holds that one back and sends the others, each once."""
    strike(url, {"fault": "latency", "seconds": 0.3})
    command = [*COMMAND, "upload", str(contacts), "--campaign", "Ventas->", "--rows-per-file", "10"]
    with subprocess.Popen(command, env=environment(url), stdout=subprocess.DEVNULL) as process:
        while not ask(url, "state")["in_flight"]:
            time.sleep(0.02)
        process.kill()
    strike(url)
    result = upload(url, contacts, "--rows-per-file", "10")
    assert result.returncode == 3, result.stderr
    assert "2 accepted, 0 refused, 1 unknown, 0 not sent" in result.stdout
    time.sleep(0.4)
    assert len(contents(url)) == len({str(content) for content in contents(url)})


def test_no_number_is_printed(url, contacts):
    """Neither of sound rows nor of bad ones."""
    write(contacts, HEADER, "098344484;Fulana;1", "098344484;Fulana;1", "09834;4484 x:;1")
    for arguments in ([], ["--skip-bad"], ["--skip-bad", "--dry-run"]):
        result = upload(url, contacts, *arguments)
        assert not any(secret in result.stdout + result.stderr for secret in ("4484", "Fulana"))

"""The commands of the fleet, as people type them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ucontact_async.cli import main

psycopg = pytest.importorskip(
    "psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'"
)

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TERMINALS = re.findall(r"^```bash\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
ADDRESS = "postgresql://fleet@127.0.0.1/calls"


@pytest.fixture
def environment(empty_database):
    """Yield what the commands are run with: an emulator and a database."""
    emulator = subprocess.Popen([sys.executable, "-m", "ucontact_async", "emulator"], stdout=subprocess.PIPE, text=True)
    url = emulator.stdout.readline().split()[-1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")}
    yield env | {
        "UCONTACT_DATABASE": empty_database,
        "UCONTACT_URL": url,
        "UCONTACT_USER": "api",
        "UCONTACT_PASSWORD": "secret",
        "UCONTACT_TIMEZONE": "America/Montevideo",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}",
    }
    emulator.terminate()
    emulator.wait(10)
    emulator.stdout.close()


def start(command, env, folder):
    return subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        env=env,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(command, env, folder):
    process = start(command, env, folder)
    said, _ = process.communicate(timeout=50)
    return process.returncode, said


@pytest.mark.long
def test_the_two_terminals_of_the_readme(environment, tmp_path):
    """The worked example runs as it is printed: loaded in one terminal, worked off in two, drained from the second."""
    (tmp_path / "contacts.csv").write_text(
        "destination;calldate\n" + "".join(f"09{n:07d};2099-05-05 10:00\n" for n in range(30)), encoding="utf-8"
    )
    first, second = (terminal.splitlines() for terminal in TERMINALS)
    assert first.pop(0) == second.pop(0) == f"export UCONTACT_DATABASE={ADDRESS}"
    for command in first[:-1]:
        code, said = run(command, environment, tmp_path)
        assert code == 0, said
    assert first[-1] == "ucontact-async fleet worker"
    worker = start(first[-1], environment, tmp_path)
    for command in second:
        code, said = run(command, environment, tmp_path)
        assert code == 0, said
        if "status" in command:
            assert re.search(r"contacts\.csv +30 +\d+", said)
    said, _ = worker.communicate(timeout=30)
    assert worker.returncode == 0, said
    code, said = run("ucontact-async fleet status", environment, tmp_path)
    assert re.search(r"contacts\.csv +30 +0 +0 +30 +0 +0 +0 ", said)


@pytest.mark.long
def test_a_worker_told_by_a_signal_leaves_with_nothing_in_flight(environment, tmp_path):
    """SIGTERM is the usual end of a worker, and no failure."""
    assert run("ucontact-async fleet init", environment, tmp_path)[0] == 0
    worker = start("ucontact-async fleet worker --name mine", environment, tmp_path)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if re.search("mine +working", run("ucontact-async fleet status", environment, tmp_path)[1]):
            break
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=20)
    assert worker.returncode == 0, said


def test_what_cannot_work_is_said_in_a_sentence(empty_database, monkeypatch, capsys):
    """No address, no tables and a bad address end with exit code 2 and say what to do."""
    monkeypatch.delenv("UCONTACT_DATABASE", raising=False)
    cases = {
        ("fleet", "status"): "UCONTACT_DATABASE",
        ("fleet", "status", "--watch", "--every", "0"): "every is seconds, greater than 0",
        ("fleet", "status", "--watch", "--every", "nan"): "every is seconds, greater than 0",
        ("fleet", "status", "--database", empty_database): "run `ucontact-async fleet init`",
        ("fleet", "status", "--database", "nonsense"): "postgresql://",
    }
    for words, sentence in cases.items():
        assert main(words) == 2
        assert sentence in capsys.readouterr().err


def test_unknown_rows_are_listed_and_settled(fleet_url, monkeypatch, capsys, tmp_path):
    """A person says how unknown rows ended, by options or a filled-in file; what failed is sent by the next load."""
    for name, value in {"DATABASE": fleet_url, "URL": "http://127.0.0.1:1", "USER": "api", "TIMEZONE": "UTC"}.items():
        monkeypatch.setenv(f"UCONTACT_{name}", value)
    file, sheet = tmp_path / "contacts.csv", tmp_path / "unknown.csv"
    file.write_text("destination;calldate\n" + "".join(f"09000000{n};2099-05-05 10:00\n" for n in range(3)), "utf-8")
    load = ["fleet", "load", str(file), "--campaign", "Ventas->"]
    listing = ["fleet", "unknown", "contacts.csv"]
    assert main(load) == 0
    assert main(listing) == 0
    with psycopg.connect(fleet_url, autocommit=True) as connection:
        connection.execute("UPDATE ucontact.rows SET status = 'unknown', reason = 'ReplyLost', at = now()")
        capsys.readouterr()
        assert main([*listing, "--csv", str(sheet)]) == 3
        lines = sheet.read_text("utf-8-sig").splitlines()
        keys = [line.partition(";")[0] for line in lines[1:]]
        assert main([*listing, "--set", f"{keys[0]}=failed", "--set", "nonsense=failed"]) == 2
        assert main([*listing, "--set", f"{keys[0]}=failed"]) == 3
        said = capsys.readouterr().out
        assert keys[0] not in said
        assert "ReplyLost" in said
        assert "090000001" not in said
        sheet.write_text("\n".join(line.replace(";;", ";succeeded;", 1) for line in [lines[0], *lines[2:]]), "utf-8")
        assert main([*listing, "--from", str(sheet)]) == 0
        assert main(load) == 0
        found = connection.execute("SELECT position, status FROM ucontact.rows ORDER BY 1").fetchall()
    assert found == [(2, "planned"), (3, "succeeded"), (4, "succeeded")]
    assert main(["fleet", "unknown", "nobody.csv"]) == 2


@pytest.fixture
def here(environment, monkeypatch, tmp_path):
    """Be in an empty folder, with the environment of the commands, and return it."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return environment


@pytest.mark.long
def test_rules_of_a_file_are_kept(here, capsys):
    """Rows that were loaded with rules wait for a worker with rules, which skips what they forbid."""
    Path("calls.csv").write_text("destination;calldate\n090000001;2099-05-05 10:00\n080000001;2099-05-05 10:00\n")
    Path("rules.toml").write_text("dialable = ['09']\ncostly = 'allow'\n")
    load = ["fleet", "load", "calls.csv", "--campaign", "Ventas->", "--rules", "rules.toml"]
    assert [main(words) for words in (["fleet", "init"], load, ["fleet", "worker", "--once"])] == [0, 0, 0]
    assert "0 rows" in capsys.readouterr().out
    assert main(["fleet", "worker", "--once", "--rules", "rules.toml"]) == 1
    said = capsys.readouterr().out
    assert "1 succeeded" in said
    assert "1 skipped: blocked: prefix" in said


@pytest.mark.long
def test_a_batch_is_taken_back(here, capsys):
    """While no worker sends, what a batch has made is removed; it stays away until another load asks for it."""
    Path("calls.csv").write_text(
        "destination;calldate\n" + "".join(f"09000000{n};2099-05-05 10:00\n" for n in range(5))
    )
    load = ["fleet", "load", "calls.csv", "--campaign", "Ventas->"]
    undo = ["fleet", "undo", "calls.csv"]
    sending = ["fleet", "worker", "--once"]

    def schedule():
        with urllib.request.urlopen(f"{here['UCONTACT_URL']}/_emulator/state", timeout=30) as answer:
            return [entry["destination"] for entry in json.load(answer)["schedule"]]

    with psycopg.connect(here["UCONTACT_DATABASE"], autocommit=True) as connection:
        assert [main(words) for words in (["fleet", "init"], load, sending)] == [0, 0, 0]
        made = schedule()
        assert main([*undo, "--dry-run"]) == 0
        assert schedule() == made
        connection.execute("UPDATE ucontact.shards SET owner = (SELECT max(id) FROM ucontact.workers)")
        assert main(undo) == 2
        assert "fleet drain" in capsys.readouterr().err
        connection.execute("UPDATE ucontact.shards SET owner = NULL")
        connection.execute("UPDATE ucontact.rows SET undoing = true")
        assert main(load) == 3  # an undo was begun and not ended
        assert main(undo) == 0
        assert not schedule()
        found = connection.execute("SELECT status, undoing, count(*) FROM ucontact.rows GROUP BY 1, 2").fetchall()
        assert found == [("undone", False, 5)]
    assert [main(words) for words in (load, sending)] == [1, 0]
    assert not schedule()
    assert [main(words) for words in ([*load, "--retry-undone"], sending)] == [0, 0]
    assert schedule() == made


def test_rows_that_cannot_be_taken_are_listed(fleet_url, monkeypatch, capsys, tmp_path):
    """A load says how many rows are to be sent and writes the others to a file; loaded again it finds all known."""
    for name, value in {"DATABASE": fleet_url, "URL": "http://127.0.0.1:1", "USER": "api", "TIMEZONE": "UTC"}.items():
        monkeypatch.setenv(f"UCONTACT_{name}", value)
    monkeypatch.delenv("UCONTACT_PASSWORD", raising=False)
    file = tmp_path / "contacts.csv"
    file.write_text("destination;calldate\n090000001;2099-05-05 10:00\nnonsense;2099-05-05 10:00\n", encoding="utf-8")
    load = ["fleet", "load", str(file), "--campaign", "Ventas->"]
    for _ in range(2):
        assert main(load) == 1
        assert "2 rows: 1 to be sent, 1 not" in capsys.readouterr().out
    assert "nonsense" in (tmp_path / "contacts.csv.rejects.csv").read_text(encoding="utf-8")
    assert main(["fleet", "status"]) == 0
    assert re.search(r"contacts\.csv +1 +1 +0 ", capsys.readouterr().out)
    assert main(["--lang", "es", "fleet", "status"]) == 0
    assert re.match("LOTE +FILAS +PLANIFICADAS +ENVIADAS +EXITOSAS ", capsys.readouterr().out)
    assert main(["fleet", "drain"]) == 0
    assert main([*load, "--operation", "respool"]) == 2

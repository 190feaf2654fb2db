"""``ucontact-async recordings`` as a process, against an emulator in the loop of the test."""

import asyncio
import os
import signal
import sys
from datetime import datetime, timedelta

import pytest

from ucontact_async.emulator import Emulator, RecordedCall

DAY = datetime(2027, 5, 5)


@pytest.fixture
async def centre():
    """Ten recorded calls of one day, an hour apart, two of them with only a gsm; on two hosts."""
    async with Emulator(backup=True) as running:
        for number in range(10):
            record = RecordedCall(
                guid=f"guid-{number:04d}",
                calldate=DAY + timedelta(hours=number),
                campaign="Ventas->" if number < 5 else "Cobros->",
            )
            where = "backup" if number % 2 else "main"
            running.state.records.add(record, formats=["gsm"] if number in (3, 4) else ["mp3"], host=where)
        yield running


async def start(centre, folder, *arguments, **environment):
    env = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")}
    env |= {
        "UCONTACT_URL": centre.url,
        "UCONTACT_BACKUP_RECORDS_URL": centre.backup_url,
        "UCONTACT_USER": "api",
        "UCONTACT_PASSWORD": "secret",
        "UCONTACT_TIMEZONE": "America/Montevideo",
    }
    command = [sys.executable, "-m", "ucontact_async", "recordings", "--folder", str(folder), *arguments]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=env | environment, stdout=pipe, stderr=pipe)


async def run(centre, folder, *arguments, **environment):
    if "--since" not in arguments:
        arguments += ("--since", "2027-05-05", "--until", "2027-05-05")
    process = await start(centre, folder, *arguments, **environment)
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, output.decode(), errors.decode()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def test_a_day_is_downloaded_and_a_second_run_fetches_nothing(centre, tmp_path):
    """All are there, the gsm converted; the same command again skips all of them; both exit 0."""
    folder = tmp_path / "in"
    code, output, errors = await run(centre, folder)
    assert (code, errors) == (0, "")
    assert output.startswith("10 recordings: 10 downloaded, 0 already there, 0 missing, 0 failed, ")
    assert names(folder) == [f"guid-{number:04d}.mp3" for number in range(10)]
    code, output, _ = await run(centre, folder)
    assert code == 0
    assert "0 downloaded, 10 already there" in output


@pytest.mark.parametrize(
    ("arguments", "code", "summary"),
    [
        (["--campaign", "Ventas->"], 0, "5 recordings: 5 downloaded"),
        (["--campaign", "Ventas->", "--no-convert"], 1, "5 recordings: 3 downloaded, 0 already there, 2 missing"),
        (["--campaign", "Ventas->", "--format", "any"], 0, "5 recordings: 5 downloaded"),
        (["--since", "2027-05-05 02:00", "--until", "2027-05-05T03:59:59"], 0, "2 recordings: 2 downloaded"),
        (["--since", "2027-05-06", "--until", "2027-05-07"], 0, "0 recordings: "),
    ],
)
async def test_what_is_asked_for(centre, tmp_path, arguments, code, summary):
    """Filters, formats and moments; 1 where something is missing."""
    assert (await run(centre, tmp_path, *arguments))[:1] == (code,)
    _, output, _ = await run(centre, tmp_path / "again", *arguments)
    assert output.startswith(summary)


async def test_what_is_missing_is_named(centre, tmp_path):
    """Each by its guid, with the reason."""
    centre.state.records.files.clear()
    code, output, _ = await run(centre, tmp_path)
    assert code == 1
    assert "10 missing, 0 failed" in output
    assert "guid-0007: guid-0007 is in none of the places for gsm" in output
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "soon", "--until", "2027-05-05"], "--since soon: write YYYY-MM-DD"),
        (["--since", "2027-05-06", "--until", "2027-05-05"], "until: is before since"),
        (["--max-concurrency", "0"], "max_concurrency"),
        (["--campaign", "a&b"], "campaign"),
        (["--records", "ftp://x"], "https://"),
        (["--timezone", "Mars/Olympus"], "no time zone"),
        (["--format", "wav"], "invalid choice"),
        (["--since", "2027-05-05"], "--until"),
    ],
)
async def test_usage_is_exit_2(centre, tmp_path, arguments, said):
    """What makes no sense is said in one line, and nothing is asked."""
    code, _, errors = await run(centre, tmp_path, *arguments)
    assert code == 2
    assert said in errors
    assert "Traceback" not in errors
    assert not centre.ledger.requests


async def test_a_wrong_password_is_exit_2(centre, tmp_path):
    """It says where to look."""
    code, _, errors = await run(centre, tmp_path, UCONTACT_PASSWORD="wrong")
    assert code == 2
    assert "UCONTACT_PASSWORD" in errors


async def test_a_folder_that_is_a_file_is_exit_2(centre, tmp_path):
    """Nothing is asked where nothing could land."""
    (tmp_path / "x").write_text("mine", encoding="ascii")
    code, _, errors = await run(centre, tmp_path / "x")
    assert code == 2
    assert "exists" in errors


async def test_a_server_that_is_not_there_is_exit_4(centre, tmp_path):
    """The same command may do better later."""
    code, _, errors = await run(centre, tmp_path, UCONTACT_URL="http://127.0.0.1:9")
    assert code == 4
    assert "not sent" in errors


async def test_a_search_that_breaks_is_exit_4(centre, tmp_path):
    """What had landed is counted, and how to resume is said."""
    for number in range(50):
        centre.state.records.add(RecordedCall(guid=f"more-{number:04d}", calldate=DAY))
    centre.set_faults({"rules": [{"endpoint": "Cdr/*", "fault": "status", "status": 500, "after": 1}]})
    code, output, errors = await run(centre, tmp_path)
    assert code == 4
    assert "50 recordings: 50 downloaded" in output
    assert "stopped early: HTTP 500" in output
    assert "run the same command again" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_is_exit_4_and_leaves_whole_files_only(centre, tmp_path, number):
    """What had landed stays, of the rest nothing; the same command goes on."""
    rules = [{"endpoint": "records/*/guid-0006.*", "fault": "hang_before_apply"}]
    centre.set_faults({"rules": rules})
    process = await start(centre, tmp_path, "--since", "2027-05-05", "--until", "2027-05-05", "--max-concurrency", "2")
    while len(names(tmp_path)) < 9 or any(name.endswith(".part") for name in names(tmp_path)):
        await asyncio.sleep(0.02)
    process.send_signal(number)
    output, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 4
    assert b"9 recordings: 9 downloaded" in output
    assert b"stopped early: interrupted" in output
    assert b"Traceback" not in errors
    centre.set_faults(None)
    code, output, _ = await run(centre, tmp_path)
    assert code == 0
    assert "1 downloaded, 9 already there" in output

"""``ucontact-async probe`` as a process, and the settling that its profile allows."""

import asyncio
import os
import signal
import sys

import pytest

NUMBER = "099123456"


async def start(emulator, *arguments, stdin=asyncio.subprocess.DEVNULL, **environment):
    env = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")}
    env |= {
        "UCONTACT_URL": emulator.url,
        "UCONTACT_USER": "api",
        "UCONTACT_PASSWORD": "secret",
        "UCONTACT_TIMEZONE": "America/Montevideo",
    }
    command = [sys.executable, "-m", "ucontact_async", *map(str, arguments)]
    pipe = asyncio.subprocess.PIPE
    options = {"stdin": stdin, "stdout": pipe, "stderr": pipe}
    return await asyncio.create_subprocess_exec(*command, env=env | environment, **options)


async def run(emulator, *arguments, **environment):
    process = await start(emulator, *arguments, **environment)
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, output.decode(), errors.decode()


def probe(folder, *more):
    return ("probe", "--campaign", "TEST->", "--number", NUMBER, "--output", folder / "server.toml", *more)


async def test_nothing_is_sent_without_consent(emulator, tmp_path):
    """Where nobody can be asked and --yes was not said, the plan is shown, the number hidden, and nothing is sent."""
    code, output, errors = await run(emulator, *probe(tmp_path))
    assert (code, output, dict(emulator.ledger.requests)) == (2, "", {})
    assert "up to four calls" in errors
    assert "--yes" in errors
    assert NUMBER not in errors
    (tmp_path / "server.toml").touch()
    code, _, errors = await run(emulator, *probe(tmp_path, "--yes"))
    assert (code, "there already" in errors, dict(emulator.ledger.requests)) == (2, True, {})
    code, _, errors = await run(emulator, *probe(tmp_path / "nowhere", "--yes"))
    assert (code, "does not exist; create it" in errors, dict(emulator.ledger.requests)) == (2, True, {})


async def on_a_terminal(emulator, typed, *arguments):
    """Run the command with a terminal to read from, on which so much is typed."""
    ours, theirs = os.openpty()
    try:
        process = await start(emulator, *arguments, stdin=theirs)
        os.write(ours, typed)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    finally:
        os.close(ours)
        os.close(theirs)
    return process.returncode, errors.decode()


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: a terminal of one's own")
async def test_a_person_is_asked(emulator, tmp_path):
    """On a terminal a person decides, and whatever is no yes is a no."""
    code, errors = await on_a_terminal(emulator, b"what?\n", *probe(tmp_path))
    assert (code, "nothing was sent" in errors, dict(emulator.ledger.requests)) == (2, True, {})
    quick = ("--lead", "0", "--spacing", "10", "--idle", "0.1", "--no-ring")
    code, errors = await on_a_terminal(emulator, b"yes\n", *probe(tmp_path, *quick))
    assert (code, "Go on?" in errors) == (0, True)


async def test_a_profile_is_written_and_used(emulator, tmp_path):
    """The profile of a probe without calls is read by the next command, and what it leaves open is refused."""
    code, output, errors = await run(emulator, *probe(tmp_path, "--yes", "--no-ring", "--idle", "0.1"))
    assert code == 0, errors
    profile = tmp_path / "server.toml"
    assert str(profile) in output
    assert emulator.state.schedule == []
    file = tmp_path / "calls.csv"
    file.write_text("campaign,destination,calldate\nVentas->,099000001,2099-05-05 10:00\n", encoding="utf-8")
    settling = ("schedule", file, "--settle-after", "0.3")
    code, _, errors = await run(emulator, *settling, "--profile", profile)
    assert (code, "lateness of 300 s" in errors) == (2, True)
    with profile.open("a", encoding="utf-8") as more:
        more.write("lateness = 0.1\nremoves_one_second = true\n")
    emulator.set_faults(
        {"rules": [{"endpoint": "Dialers/ScheduleDialerCall", "fault": "close_after_apply", "count": 1}]}
    )
    code, output, errors = await run(emulator, *settling, UCONTACT_PROFILE=str(profile))
    assert code == 0, errors
    assert "settled: 1 of the succeeded" in output
    assert len(emulator.state.schedule) == 1


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: signals of the terminal")
@pytest.mark.parametrize("removed", [True, False])
async def test_an_interrupted_probe_cleans_up(emulator, tmp_path, removed):
    """Ctrl-C takes off what was scheduled, or says that it could not, ends the session, writes no profile, exits 4."""
    process = await start(emulator, *probe(tmp_path, "--yes", "--lead", "4000", "--idle", "0.1"))
    while len(emulator.state.schedule) < 2 or emulator.ledger.requests["auth/EndSession"] == 0:
        await asyncio.sleep(0.02)
    if not removed:
        refusal = {"endpoint": "Dialers/RemoveScheduleDialerCall", "fault": "status", "status": 500}
        emulator.set_faults({"rules": [refusal]})
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, emulator.state.schedule == [], emulator.state.sessions.live) == (4, removed, {})
    told = b"what was scheduled has been removed" if removed else b"not all that was scheduled could be removed"
    assert b"interrupted; " + told in errors
    assert list(tmp_path.iterdir()) == []

"""The live probe against servers that behave one way and the other; time runs a hundred times as fast for it."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ucontact_async import ServerProfile, SettingsError, UContact
from ucontact_async.emulator import Emulator, RecordedCall, Switches
from ucontact_async.probe.findings import profile_text, write_new
from ucontact_async.probe.questions import Probe, ProbeOptions
from ucontact_async.probe.server import CloseServer
from ucontact_async.settings import Secret, Settings

ZONE = ZoneInfo("America/Montevideo")
SPEED = 100
NUMBER = "099123456"
THROTTLE = {"endpoint": "Supervisor/*", "fault": "status", "status": 429, "headers": {"Retry-After": "7"}, "count": 3}


class FastTime:
    """A clock that runs fast, from a fixed moment."""

    def __init__(self):
        self.began = time.monotonic()

    def __call__(self):
        """Return the present."""
        return datetime(2027, 3, 1, 15, tzinfo=UTC) + timedelta(seconds=SPEED * (time.monotonic() - self.began))

    async def sleep(self, seconds):
        """Return when so many of its seconds have passed."""
        await asyncio.sleep(seconds / SPEED)


async def dial(emulator, now):
    """Be the dialer: once all is planted make every call that is due, and record it."""
    count = 0
    while True:
        planted = emulator.ledger.requests["auth/EndSession"]
        due = emulator.state.dial_order(now().astimezone(ZONE)) if planted else []
        for row in due:
            call = emulator.state.dial_next(now().astimezone(ZONE))
            count += 1
            emulator.state.records.add(
                RecordedCall(
                    guid=f"guid-{count:04d}",
                    calldate=datetime.fromisoformat(row.calldate),
                    destination=call.destination,
                    campaign=call.campaign,
                    data=call.data,
                )
            )
        await asyncio.sleep(0.02)


def options(**changes):
    return ProbeOptions(
        **{"campaign": "TEST->", "number": NUMBER, "lead": 1.0, "spacing": 10.0, "idle": 0.2, **changes}
    )


async def asked(emulator, *, dialer=True, ask=None, said=None, **changes):
    """Probe ``emulator`` and return the profile that is read back, and the text by question."""
    now = FastTime()
    dialling = asyncio.create_task(dial(emulator, now)) if dialer else None
    try:
        async with UContact(emulator.url, user="api", password="secret", timezone=ZONE) as uc:
            say = (said if said is not None else []).append
            probe = Probe(uc.settings, options(**changes), say=say, ask=ask, now=now, sleep=now.sleep)
            findings = await probe.run()
    finally:
        if dialling is not None:
            dialling.cancel()
            await asyncio.wait([dialling])
    told = {}
    for finding in findings:
        told.setdefault(finding.number, []).append(finding.answer)
    return findings, {number: " | ".join(answers) for number, answers in told.items()}


def profile_of(findings, tmp_path):
    file = tmp_path / "server.toml"
    write_new(file, profile_text("https://acme.example", datetime(2027, 3, 1).date(), findings))
    return ServerProfile.read(file), file.read_text(encoding="utf-8")


async def test_a_server_that_does_what_one_hopes(tmp_path):
    """The nine questions of a kind server; the profile allows to settle; nothing is left behind."""
    async with Emulator(switches=Switches(data_in_records=True)) as emulator:
        findings, told = await asked(emulator)
        assert emulator.state.schedule == []
        assert emulator.state.sessions.live == {}
    profile, text = profile_of(findings, tmp_path)
    assert profile == ServerProfile(removes_one_second=True, removes_tasks=True)
    assert sorted(told) == list(range(1, 10))
    assert "removed call: did not ring" in told[1]
    assert "; call: rang" in told[1]
    assert "ends the first token" in told[3]
    assert "HTTP 401" in told[3]
    assert "32 x HTTP 200" in told[4]
    assert "which is no bound" in told[5]
    assert "longer than 0.2 s; 100-continue is answered; cookies are not sent" in told[6]
    assert told[7] == "yes"
    assert "not asked" in told[8]
    assert "Dialers/ScheduleDialerCall: HTTP 200, text/plain;charset=UTF-8, b'1'" in told[9]
    assert NUMBER not in text


async def test_a_server_that_does_nothing_of_it(tmp_path):
    """Each switch the other way: the profile holds the careful answers."""
    switches = Switches(
        removal="exclusive",
        removes_tasks=False,
        one_session=False,
        dead_token="redirect",
        keep_alive=0.25,
        continues=False,
        cookies=True,
        trailing_newline=True,
        known_number="0",
    )
    async with Emulator(switches=switches, faults={"rules": [THROTTLE]}) as emulator:
        findings, told = await asked(emulator, block=True, lateness=45.0, idle=0.5)
        assert emulator.state.schedule == []
        assert len(emulator.state.blacklist) == 1
    profile, _ = profile_of(findings, tmp_path)
    assert profile == ServerProfile(lateness=45.0)
    assert "removed call: rang; removed task: rang" in told[1]
    assert "leaves the first token alive" in told[3]
    assert "HTTP 302 to /Integra/login.xhtml" in told[3]
    assert "3 x HTTP 429, Retry-After 7" in told[4]
    assert "45 s were given" in told[5]
    assert "lives: after 0." in told[6]
    assert "100-continue is not answered; cookies are sent" in told[6]
    assert told[7] == "no"
    assert "'1' and then '0'" in told[8]
    assert r"b'1\n'" in told[9]


@pytest.mark.parametrize("removal", ["inclusive", "exclusive"])
async def test_a_server_whose_answers_tell(tmp_path, removal):
    """Where 0 means that nothing was there, no call need ring to know what was removed."""
    switches = Switches(removal=removal, removal_of_nothing="0", dead_token="page")
    async with Emulator(switches=switches) as emulator:
        findings, told = await asked(emulator, ring=False, dialer=False)
        assert emulator.state.schedule == []
    profile, _ = profile_of(findings, tmp_path)
    assert profile == ServerProfile(refuses_empty_removal=True, removes_one_second=removal == "inclusive")
    assert "HTTP 200, a page" in told[3]
    assert "not asked" in told[2]


async def test_a_dialer_that_does_not_dial(tmp_path):
    """Where the calls that should ring do not, nothing is concluded; a person who heard them is asked."""
    async with Emulator() as emulator:
        findings, told = await asked(emulator, dialer=False)
        assert profile_of(findings, tmp_path)[0] == ServerProfile()
        assert "do not tell" in told[1]
        assert emulator.state.schedule == []
        second = tmp_path / "second"
        second.mkdir()
        heard = iter([False, False, True, True])

        async def ask(question):
            assert "ring at" in question
            return next(heard)

        findings, _ = await asked(emulator, dialer=False, ask=ask)
    assert profile_of(findings, second)[0] == ServerProfile(removes_one_second=True, removes_tasks=True)


async def test_whatever_fails_is_cleaned_up():
    """A probe that is cancelled, and one whose server fails, take off what they had scheduled and end their session."""
    async with Emulator() as emulator:
        task = asyncio.create_task(asked(emulator, dialer=False, lead=4000.0))
        while len(emulator.state.schedule) < 2 or emulator.ledger.requests["auth/EndSession"] == 0:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (emulator.state.schedule, emulator.state.sessions.live) == ([], {})
        said = []
        rules = [
            {"endpoint": "Cdr/*", "fault": "status", "status": 500},
            {"endpoint": "Dialers/Remove*", "fault": "status", "status": 500, "after": 5},
        ]
        emulator.set_faults({"rules": rules})
        _, told = await asked(emulator, dialer=False, said=said)
        assert "no answer" in told[1]
        assert any(line.startswith("NOT CLEANED UP") for line in said)
        assert not any(NUMBER in line for line in said)


async def test_a_removal_that_is_refused_is_no_clean_up():
    """Where a call was scheduled and every removal is answered 0, the call is told of: it may ring in a month."""
    refusal = {"endpoint": "Dialers/RemoveSchedule*", "fault": "body", "body": "0"}
    async with Emulator(faults={"rules": [refusal]}) as emulator:
        said = []
        await asked(emulator, ring=False, dialer=False, said=said)
        assert len(emulator.state.schedule) == 1
        assert any(line.startswith("NOT CLEANED UP") for line in said)
        said.clear()
        schedule = {"endpoint": "Dialers/Schedule*", "fault": "body", "body": "0"}
        emulator.set_faults({"rules": [refusal, schedule]})
        await asked(emulator, ring=False, dialer=False, said=said)
        assert not any(line.startswith("NOT CLEANED UP") for line in said)


async def test_a_line_without_an_end_is_no_answer():
    """What a server says that never ends its line is not waited for, and ends no probe."""

    async def babble(reader, writer):
        writer.write(b"x" * 200_000)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        close = CloseServer(Settings(url=f"http://127.0.0.1:{port}", token=Secret("t")))
        assert not await close.continues(5.0)
        await close.aclose()


async def test_the_login_page_is_found_beside_its_session(tmp_path):
    """A redirect that names a session gives a profile by which later ones, with other sessions, are known."""
    location = "/Integra/signin.xhtml;jsessionid=A1.node1"
    expired = {"endpoint": "Supervisor/*", "fault": "status", "status": 302, "headers": {"Location": location}}
    async with Emulator(faults={"rules": [{**expired, "after": 33, "count": 1}]}) as emulator:
        findings, told = await asked(emulator, ring=False, dialer=False)
    assert location in told[3]
    assert profile_of(findings, tmp_path)[0].login_page == "signin"


async def test_a_probe_needs_the_time_zone():
    """Without the server's time zone no call can be scheduled, and nothing is sent."""
    async with UContact("https://acme.example", user="api", password="secret") as uc:
        with pytest.raises(SettingsError, match="time zone"):
            Probe(uc.settings, options(), say=print)


def test_a_profile_is_never_written_over(tmp_path):
    """What was found out before stays."""
    file = tmp_path / "server.toml"
    write_new(file, "")
    with pytest.raises(SettingsError, match="there already"):
        write_new(file, "x")
    with pytest.raises(SettingsError, match="cannot be written"):
        write_new(tmp_path / "none" / "x", "x")

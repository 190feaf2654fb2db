"""Every endpoint of the page through the whole client, and the README's table of them walked in both directions."""

import inspect
import re
from pathlib import Path

import msgspec
import pytest
from every_endpoint import THE_PAGE
from witnesses import WITNESSES

from ucontact_async import UContact
from ucontact_async.api import ENDPOINTS, GROUPS
from ucontact_async.emulator import Emulator, Switches
from ucontact_async.endpoint import Endpoint, Safety
from ucontact_async.errors import Rejected, Unauthorized

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COROUTINES = {coroutine: path for _, path, coroutine, _ in THE_PAGE if coroutine}
EVERY = pytest.mark.parametrize("coroutine", COROUTINES)
REFUSED = {"rules": [{"endpoint": "*", "fault": "body", "body": "0"}]}


def client_of(emulator):
    return UContact(emulator.url, user="api", password="secret", timezone="UTC")


async def call(uc, coroutine):
    """Call a coroutine with the fields of its witness as keywords."""
    group, name = coroutine.split(".")
    fields = msgspec.structs.asdict(WITNESSES[COROUTINES[coroutine]].request)
    return await getattr(getattr(uc, group), name)(**fields)


@EVERY
async def test_the_coroutine(emulator, coroutine):
    """Called with the fields of the witness, it returns what is documented and leaves the witness's fields."""
    path = COROUTINES[coroutine]
    witness = WITNESSES[path]
    witness.before(emulator.state)
    async with client_of(emulator) as uc:
        reply = await call(uc, coroutine)
    assert emulator.ledger.requests[path] == 1
    if ENDPOINTS[path].safety is Safety.READ:
        assert isinstance(reply, list | tuple | dict)
        assert list(emulator.ledger) == []
        return
    (entry,) = emulator.ledger
    assert (entry.endpoint, entry.answered) == (path, True)
    assert entry.fields == witness.fields | (witness.ledger or {})
    assert reply == (emulator.state.switchboard.cdr[-1].guid if path.startswith("Agents/AgentCall") else None)


@EVERY
async def test_the_coroutine_refused(emulator, coroutine):
    """Answered 0 it says that it was refused; only of a search 0 may mean that there is nothing."""
    async with client_of(emulator) as uc:
        await uc.campaigns.summary()  # logged in before everything is refused
        emulator.set_faults(REFUSED)
        if coroutine == "recordings.find":
            assert await call(uc, coroutine) == ()
        else:
            with pytest.raises(Rejected):
                await call(uc, coroutine)
        emulator.set_faults(None)
    assert list(emulator.ledger) == []


@pytest.mark.parametrize(("current", "path"), [("quoted", "auth/getUserToken"), ("absent", "auth/UserLogin")])
async def test_the_login(current, path):
    """The first call logs in by the current endpoint, on an old server by the older one; 0 is a refusal."""
    async with Emulator(switches=Switches(get_user_token=current)) as emulator:
        async with client_of(emulator) as uc:
            await uc.campaigns.summary()
        assert emulator.ledger.requests[path] == emulator.ledger.logins == 1
        async with UContact(emulator.url, user="api", password="wrong") as uc:
            with pytest.raises(Unauthorized):
                await uc.campaigns.summary()


async def test_the_logout(emulator):
    """At its end the client makes its own token useless."""
    async with client_of(emulator) as uc:
        await uc.campaigns.summary()
        assert len(emulator.state.sessions.live) == 1
    assert emulator.ledger.requests["auth/EndSession"] == 1
    assert emulator.state.sessions.live == {}


def test_the_code_has_the_endpoints_of_the_page():
    """No endpoint of the page is missing in the code, none is there that the page does not have."""
    assert sorted(path for _, path, _, _ in THE_PAGE) == sorted(ENDPOINTS)
    declared = [endpoint for group in GROUPS for endpoint in vars(group).values() if isinstance(endpoint, Endpoint)]
    assert sorted(endpoint.path for endpoint in declared) == sorted(ENDPOINTS)
    for _, path, _, safety in THE_PAGE:
        assert ENDPOINTS[path].safety.value == safety, path


async def test_each_coroutine_is_its_endpoints(emulator):
    """Below the name that the page's list gives stands a coroutine with the fields of that endpoint's request."""
    async with client_of(emulator) as uc:
        for coroutine, path in COROUTINES.items():
            group, name = coroutine.split(".")
            declared = getattr(type(getattr(uc, group)), name)
            assert declared is ENDPOINTS[path]
            parameters = inspect.signature(getattr(getattr(uc, group), name)).parameters
            assert list(parameters) == list(inspect.signature(declared.request_type).parameters)


def readme_rows():
    """Return the rows of the README's table of endpoints, the cells without their code marks."""
    after = README[README.index("| Section | Endpoint |") :]
    lines = after[: after.index("\n\n")].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_readmes_table_is_the_page():
    """Each endpoint stands in the README once with its section, coroutine and safety, and nothing else does."""
    rows = [
        (section, path, coroutine.removeprefix("uc."), safety) for section, path, coroutine, safety, _ in readme_rows()
    ]
    assert rows == [(section, path, coroutine or "by itself", safety) for section, path, coroutine, safety in THE_PAGE]


def test_the_readmes_tests_exist():
    """Each row names a test of this file that is there, by its identity, and that is about the row's endpoint."""
    ids = {f"test_the_coroutine[{coroutine}]": path for coroutine, path in COROUTINES.items()}
    ids |= {"test_the_login": "auth/", "test_the_logout": "auth/EndSession"}
    for _, path, _, _, test in readme_rows():
        assert path.startswith(ids[test])
        function, _, parameter = test.partition("[")
        marks = {mark.name: mark for mark in getattr(globals()[function], "pytestmark", [])}
        if parameter:
            assert parameter.rstrip("]") in marks["parametrize"].args[1]
    assert len({*re.findall(r"`(test_the_\w+(?:\[[\w.]+\])?)`", README)}) == len(COROUTINES) + 2

"""Ways to fail, with canaries wherever a secret or a number can be: functions that fail and show what is left.

A path is given a :class:`Place` (a folder of its own and the :class:`Observed` to fill) and returns nothing. What its
servers answer quotes token, password and number back, as error pages do.
"""

import asyncio
import contextlib
import io
import os
import socket
import ssl
import sys
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "emulated"))

from leak_views import OTHER_PHONE, PASSWORD, PERSON, PHONE, TOKEN
from scripted_server import Scripted

from ucontact_async import (
    AgentCallWithData,
    Blocking,
    BlockNumber,
    CallWorkflow,
    DialerTask,
    DialRules,
    Disposition,
    DoNotCall,
    FileTokenStore,
    ListRow,
    Recording,
    RemoveContact,
    Reply,
    Respool,
    Safety,
    ScheduledCall,
    Service,
    Table,
    UContact,
    open_journal,
    run,
)
from ucontact_async.cli import main
from ucontact_async.portal import CtiCall, Envelope, read_action, read_result

WHEN = datetime(2099, 5, 5, 10)
CALL = ScheduledCall(
    campaign="Ventas->", destination=PHONE, calldate=WHEN, alternatives=[OTHER_PHONE], data={"name": PERSON}
)
ECHO = f"bad request: token {TOKEN} password={PASSWORD} destination={PHONE}:{OTHER_PHONE}".encode()
PATHS = {}


class Place:
    """Where a path fails: ``folder`` is its own, ``seen`` what takes down what is looked at."""

    def __init__(self, folder, seen):
        self.folder = folder
        self.seen = seen

    @contextlib.contextmanager
    def failing(self):
        """Run the block, which must fail, and look at the error."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever it is, it is looked at
            self.seen.error(error)
        else:
            raise AssertionError(f"{self.seen.name}: nothing failed")

    @contextlib.asynccontextmanager
    async def client(self, url, **options):
        """A client with a canary for a token, looked at before it is closed."""
        async with UContact(url, **{"token": TOKEN, "timezone": "America/Montevideo", **options}) as uc:
            yield uc.with_options(timeout=0.3)
            self.seen.value(uc, uc.settings, vars(uc), uc.limiter, vars(uc._caller), uc._caller._outgoing)
            self.seen.value(uc._caller._latest, uc._caller.tokens, vars(uc._caller.tokens), uc._caller.lane)


def path(name):
    """Register a path."""

    def add(function):
        PATHS[name] = function
        return function

    return add


def answer(status, body=ECHO, headers=""):
    """Return the bytes of an answer; the reason, a header and the body quote the canaries."""
    head = f"HTTP/1.1 {status} {TOKEN}\r\nX-Echo: {PASSWORD} {PHONE}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def sends(data):
    """Return a script that answers so and closes."""

    def script(connection, number, request):
        connection.sendall(data)
        return True

    return script


def resets(connection, number, request):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return True


def hangs(connection, number, request):
    time.sleep(0.6)
    return True


ANSWERS = {
    "HTTP 400": sends(answer(400)),
    "HTTP 401": sends(answer(401)),
    "HTTP 403": sends(answer(403)),
    "HTTP 404": sends(answer(404)),
    "HTTP 408": sends(answer(408)),
    "HTTP 429": sends(answer(429, headers="Retry-After: 99\r\n")),
    "HTTP 500": sends(answer(500)),
    "HTTP 503": sends(answer(503)),
    "a redirect to the login": sends(answer(302, headers=f"Location: /login?token={TOKEN}&p={PHONE}\r\n")),
    "a redirect elsewhere": sends(answer(307, headers=f"Location: http://127.0.0.1:9/?t={TOKEN}&p={PHONE}\r\n")),
    "a page instead of an answer": sends(answer(200)),
    "a refusal": sends(answer(200, b"0")),
    "an encoded answer": sends(answer(200, headers="Content-Encoding: gzip\r\n")),
    "too long an answer": sends(answer(200, ECHO * 2000)),
    "no HTTP": sends(ECHO + b"\r\n\r\n"),
    "a wrong character set": sends(answer(200, b"\xff\xfe" + ECHO)),
    "a cut answer": sends(answer(200)[:-9]),
    "a reset": resets,
    "silence": hangs,
    "two answers": sends(answer(200, b"1") + answer(200, b"1")),
}


def _answered(script, lane):
    async def fail(place):
        respool = Respool(campaign="Ventas->", dialerbase="b", contact=1, destination=PHONE, data={"name": PERSON})
        dial = AgentCallWithData(agent="Ana", phone=OTHER_PHONE, destination=PHONE, outqueue="Sales->", data=PERSON)
        with Scripted(script) as server:
            for request in (CALL, respool, dial):
                async with place.client(server.url, lane=lane) as uc:  # each its own: an overload holds up the others
                    with contextlib.suppress(AssertionError), place.failing():
                        await uc.send(request)
                        await uc.send(request)
        assert place.seen.errors

    return fail


for _name, _script in ANSWERS.items():
    for _lane in ("command", "session"):
        path(f"a call answered by {_name}, {_lane} lane")(_answered(_script, _lane))


def _login(script):
    async def fail(place):
        with Scripted(script) as server:
            async with place.client(server.url, token=None, user="api", password=PASSWORD) as uc:
                with place.failing():
                    await uc.login()
                with place.failing():
                    await uc.send(CALL)

    return fail


LOGINS = {
    "refused": sends(answer(200, b"0")),
    "garbled": sends(answer(200)),
    "answered by a list without a token": sends(answer(200, f'[1, null, {{"token": "{TOKEN}"}}]'.encode())),
    "failed with HTTP 500": sends(answer(500)),
    "redirected": sends(answer(302, headers=f"Location: /?password={PASSWORD}\r\n")),
    "reset": resets,
    "silent": hangs,
    "no HTTP": sends(ECHO),
}
for _name, _script in LOGINS.items():
    path(f"a login, {_name}")(_login(_script))


@path("a token that dies again and again")
async def stolen(place):
    def script(connection, number, request):
        connection.sendall(answer(200, f'"{TOKEN}"'.encode()) if b"getUserToken" in request else answer(401))
        return False

    with Scripted(script) as server:
        async with place.client(server.url, token=None, user="api", password=PASSWORD) as uc:
            for _ in range(3):
                with place.failing():
                    await uc.send(CALL)


@path("nothing listens")
async def refused(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with place.client(f"http://127.0.0.1:{port}") as uc:
        with place.failing():
            await uc.send(CALL)


@path("no such host")
async def unnamed(place):
    async with place.client("https://nowhere.invalid") as uc:
        with place.failing():
            await uc.send(CALL)


@path("no TLS there")
async def no_tls(place):
    with Scripted(sends(ECHO)) as server:
        async with place.client(server.url.replace("http:", "https:")) as uc:
            with place.failing():
                await uc.send(CALL)


@path("a certificate of nobody")
async def untrusted(place):
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Scripted(sends(ECHO), context) as server:
        async with place.client(server.url) as uc:
            with place.failing():
                await uc.send(CALL)


@path("a call that its caller gave up")
async def abandoned(place):
    events = []
    with Scripted(hangs) as server:
        async with place.client(server.url) as uc:
            uc.listen(events.append)
            task = asyncio.create_task(uc.send(CALL))
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait([task])
    place.seen.value(*events, task)
    place.seen.error(events[0].error)


GOOD = {"url": "https://acme.example", "user": "api", "password": PASSWORD}
SETTINGS = {
    "no user": {"user": None},
    "a password in the address": {"url": f"https://api:{PASSWORD}@acme.example"},
    "an address that is none": {"url": f"https://[{PASSWORD}"},
    "a port that is none": {"url": f"https://acme.example:{PASSWORD}"},
    "a query in the address": {"url": f"https://acme.example/?token={TOKEN}"},
    "a token that no header carries": {"token": f"{TOKEN}\r\nX: y"},
    "a scheme that is none": {"token": TOKEN, "token_scheme": "Digest"},
    "a zone that is none": {"timezone": "America/Nowhere"},
    "no such authority": {"ca": "/no/such/file"},
    "no such profile": {"profile": "/no/such/file"},
    "a lane that is none": {"lane": "fast"},
    "a token and a store": {"token": TOKEN, "token_store": FileTokenStore("/no/such/file")},
}


def _bad_settings(wrong):
    async def fail(place):
        with place.failing():
            async with UContact(**{**GOOD, **wrong}) as uc:
                await uc.send(CALL)
        names = {"url": "URL", "user": "USER", "password": "PASSWORD", "token": "TOKEN", "token_scheme": "TOKEN_SCHEME"}
        environ = {f"UCONTACT_{names[k]}": v for k, v in {**GOOD, **wrong}.items() if k in names and v is not None}
        with contextlib.suppress(AssertionError), place.failing():
            UContact.from_env(environ | {"UCONTACT_TIMEZONE": "Nowhere/None"})

    return fail


for _name, _wrong in SETTINGS.items():
    path(f"settings: {_name}")(_bad_settings(_wrong))


@path("settings: a password file that is a folder")
async def folder_for_password(place):
    with place.failing():
        UContact.from_env({"UCONTACT_URL": "https://acme.example", "UCONTACT_PASSWORD_FILE": str(place.folder)})


@path("a token file that holds another's token")
async def foreign_token(place):
    file = place.folder / "token"
    file.write_text(f'{{"version":1,"owner":"x","generation":1,"token":"{TOKEN}","born":1.0,"deaths":0}}')
    file.chmod(0o600)
    async with UContact(**GOOD, token_store=FileTokenStore(file)) as uc:
        with place.failing():
            await uc.login()


@path("a token file that others can read")
async def open_token(place):
    file = place.folder / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    async with UContact(**GOOD, token_store=FileTokenStore(file)) as uc:
        with place.failing():
            await uc.login()


WRONG = {
    "a number with a call leg": {"destination": f"{PHONE}&{OTHER_PHONE}"},
    "a number in the column of the campaign": {"campaign": PHONE},
    "the same number twice": {"alternatives": [OTHER_PHONE, OTHER_PHONE]},
    "half a character": {"data": {"name": f"{PERSON}\ud800"}},
    "a separator in a value": {"data": {"name": f"{PERSON};{PHONE}"}},
    "a value of the wrong type": {"data": {"name": [PERSON, PHONE]}},
    "a number as a number": {"destination": int(PHONE[1:])},
    "a date in no zone": {"calldate": None},
    "a whole sentence for a number": {"destination": f"call {PERSON} at {PHONE}"},
    "one text for many numbers": {"alternatives": PHONE},
}


def _invalid(wrong):
    async def fail(place):
        async with place.client("https://acme.example") as uc:
            fields = {"campaign": "Ventas->", "destination": PHONE, "calldate": WHEN, "data": {"name": PERSON}, **wrong}
            with place.failing():
                await uc.dialers.schedule(**fields)
            with contextlib.suppress(Exception):
                place.seen.value(ScheduledCall(**fields))
            with contextlib.suppress(Exception):
                place.seen.report(await uc.bulk([ScheduledCall(**fields)], dry_run=True))

    return fail


for _name, _wrong in WRONG.items():
    path(f"a request with {_name}")(_invalid(_wrong))


@path("requests that the page does not list")
async def unlisted(place):
    async with place.client("https://acme.example") as uc:
        with place.failing():
            await uc.request("x/y", {"number": f"{PHONE}\ud800"}, reply=Reply.TEXT, safety=Safety.ONCE)
    with Scripted(sends(answer(200))) as server:
        async with place.client(server.url) as uc:
            with place.failing():
                await uc.request("x/y", {"number": PHONE}, reply=Reply.JSON, safety=Safety.ONCE)


@path("other requests that are wrong")
async def others(place):
    values = [
        lambda: BlockNumber(phone=PHONE, company=PERSON, job_title=f"{PERSON}\n", name=PERSON),
        lambda: Disposition(campaign="A<-", guid=f"{PHONE}/../x", data1=PERSON, agent="Ana", comment=PERSON),
        lambda: CallWorkflow(context=PHONE, extension="b", params={"name": {PERSON}}),
        lambda: DialerTask(campaign="Ventas->", destination=f"{PHONE},1", priority=99999),
        lambda: AgentCallWithData(agent="Ana", phone=f"{OTHER_PHONE}/", destination=PHONE, outqueue="x", data=PERSON),
    ]
    async with place.client("https://acme.example") as uc:
        for value in values:
            with place.failing():
                request = value()
                place.seen.value(request)
                await uc.send(request)


def _runs(name, **options):
    """Register a run of many rows against a server that fails."""

    def add(source):
        async def fail(place):
            journal = place.folder / "run.journal"
            with Scripted(options.get("script", ANSWERS["HTTP 500"])) as server:
                async with place.client(server.url) as uc:
                    await source(place, uc, journal)
            place.seen.files("journal", journal)

        path(name)(fail)
        return source

    return add


def rows(count=30):
    """Return calls, each of which is personal."""
    return [
        ScheduledCall(
            campaign="Ventas->", destination=PHONE, alternatives=[f"{n:04d}"], calldate=WHEN, data={"n": PERSON}
        )
        for n in range(count)
    ]


@_runs("a run of which nothing is known")
async def unknown_run(place, uc, journal):
    report = await uc.bulk(rows(), journal=journal, max_unknown=5)
    place.seen.report(report)
    with place.failing():
        report.raise_for_status()
    with open_journal(journal) as held:
        found = list(held.unknown())
        place.seen.value(held, *found)
        with place.failing():
            held.resolve("no-such-key", "succeeded")


@_runs("a run that is refused", script=ANSWERS["a refusal"])
async def refused_run(place, uc, journal):
    async with uc.stream(rows(), journal=journal, max_failures=3) as outcomes:
        place.seen.value(outcomes)
        async for outcome in outcomes:
            place.seen.value(outcome)
        place.seen.report(outcomes.report)


@_runs("a run whose input breaks")
async def broken_input(place, uc, journal):
    def broken():
        yield from rows(3)
        raise ValueError("the caller's own")

    with place.failing():
        await uc.bulk(broken(), journal=journal)


@_runs("a run whose listener breaks")
async def broken_listener(place, uc, journal):
    def broken(report):
        raise ValueError("the caller's own")

    with place.failing():
        await uc.bulk(rows(3), journal=journal, progress=broken)


@_runs("a run with something else in it")
async def foreign_item(place, uc, journal):
    with place.failing():
        await uc.bulk([CALL, PERSON.encode()[:3]], journal=journal)


@_runs("a table with rows that are wrong")
async def wrong_table(place, uc, journal):
    cells = [
        {"Telefono": PHONE, "calldate": "2099-05-05 10:00", "data.name": f"{PERSON};"},
        {"Telefono": f"{PHONE}&", "calldate": "2099-05-05 10:00", "data.name": PERSON},
        {"Telefono": PHONE, "calldate": PHONE, "data.name": PERSON},
        {"Telefono": float(PHONE), "calldate": "2099-05-05 10:00", "data.name": PERSON, PHONE: PHONE},
    ]
    table = Table(cells, "schedule", campaign="Ventas->", mapping={"destination": "Telefono"})
    place.seen.value(table)
    place.seen.report(await uc.bulk(table, journal=journal))


@_runs("a journal that is busy")
async def busy_journal(place, uc, journal):
    async with uc.stream(rows(), journal=journal):
        with place.failing():
            await uc.bulk(rows(), journal=journal)


@_runs("a journal of another server", script=ANSWERS["a refusal"])
async def foreign_journal(place, uc, journal):
    await uc.bulk(rows(2), journal=journal)
    async with place.client("http://127.0.0.1:9") as other:
        with place.failing():
            await other.bulk(rows(2), journal=journal)


@_runs("a journal that is no journal")
async def no_journal(place, uc, journal):
    journal.write_text(f"{PHONE};{PERSON}")
    with place.failing():
        await uc.bulk(rows(2), journal=journal)


@_runs("a journal that cannot be written any more", script=sends(answer(200, b"1")))
async def full_journal(place, uc, journal):
    import sqlite3

    await uc.bulk(rows(2), journal=journal)
    db = sqlite3.connect(journal)
    db.execute("CREATE TRIGGER full BEFORE INSERT ON requests BEGIN SELECT RAISE(FAIL, 'no room'); END")
    db.execute("CREATE TRIGGER full2 BEFORE UPDATE ON rows BEGIN SELECT RAISE(FAIL, 'no room'); END")
    db.close()
    with place.failing():
        await uc.bulk(rows(40), journal=journal)


@_runs("a journal whose requests cannot be read")
async def mangled_journal(place, uc, journal):
    import sqlite3

    await uc.bulk(rows(2), journal=journal)
    db = sqlite3.connect(journal)
    db.execute("UPDATE requests SET request = ?", (f'{{"destination": ["{PHONE}"',))
    db.commit()
    db.close()
    with open_journal(journal) as held, place.failing():
        list(held.unknown())


@_runs("calls that the rules forbid")
async def forbidden(place, uc, journal):
    numbers = place.folder / "dnc.txt"
    numbers.write_text(f"{PHONE}\n")
    rules = DialRules(costly="allow", do_not_call=(DoNotCall(numbers),))
    place.seen.value(rules)
    place.seen.report(await uc.bulk(rows(2), journal=journal, rules=rules))
    with place.failing():
        await uc.bulk(rows(2), rules=DialRules(costly="allow", do_not_call=(DoNotCall(place.folder / "none"),)))


@_runs("removals of which nothing is known")
async def removals(place, uc, journal):
    calls = [RemoveContact(campaign="Ventas->", destination=PHONE)]
    place.seen.report(await uc.bulk(calls, journal=journal, max_unknown=1))


UPLOADS = {"refused": ANSWERS["a refusal"], "of which nothing is known": ANSWERS["HTTP 500"], "cut": resets}


def _upload(script):
    async def fail(place):
        contacts = [ListRow(destination=PHONE, alternatives=[OTHER_PHONE], data={"name": PERSON})]
        place.seen.value(*contacts)
        with Scripted(script) as server:
            async with place.client(server.url, token=TOKEN, user="api") as uc:
                report = await uc.dialers.upload(contacts, campaign="Ventas->")
                place.seen.value(report)
                for error in [getattr(file, "error", None) for file in getattr(report, "files", ())]:
                    if error is not None:
                        place.seen.error(error)
                with place.failing():
                    await uc.dialers.upload([*contacts, *contacts], campaign="Ventas->")
                with place.failing():
                    bad = [ListRow(destination=PHONE, data={"name": f"{PERSON}\n{PHONE}"})]
                    await uc.dialers.upload(bad, campaign="Ventas->")
                with place.failing():
                    report.raise_for_status()

    return fail


for _name, _script in UPLOADS.items():
    path(f"an upload, {_name}")(_upload(_script))

RECORDING = Recording(guid="a1b2c3d4-0000", calldate=WHEN, source=PHONE, destination=OTHER_PHONE)
FILES = {
    "not there": sends(answer(404)),
    "redirected": sends(answer(302, headers=f"Location: http://127.0.0.1:9/{TOKEN}\r\n")),
    "a page": sends(answer(200, headers="Content-Type: text/html\r\n")),
    "too long": sends(answer(200, ECHO * 40)),
    "cut": sends(answer(200)[:-5]),
    "reset": resets,
    "silent": hangs,
    "no HTTP": sends(ECHO),
    "forbidden": sends(answer(403)),
    "encoded": sends(answer(200, headers="Content-Encoding: br\r\n")),
}


def _recording(script):
    async def fail(place):
        place.seen.value(RECORDING)
        with Scripted(script) as server:
            async with place.client(server.url) as uc:
                for send_token in (False, True):
                    with place.failing():
                        await uc.recordings.download(
                            RECORDING, place.folder / "sound", send_token=send_token, max_size=64, convert=False
                        )
                report = await uc.recordings.download_all([RECORDING], place.folder / "all", convert=False, max_size=64)
                place.seen.value(report, *report.problems)
                with place.failing():
                    await uc.recordings.locate(Recording(guid="../x"))
                with place.failing():
                    async for _ in uc.recordings.search(since=WHEN, until=WHEN, source=PHONE):
                        pass

    return fail


for _name, _script in FILES.items():
    path(f"a recording, {_name}")(_recording(_script))


@path("the agent's portal")
async def portal(place):
    cti = f'{{"Callerid": "{PHONE}", "Guid": ["{PERSON}"], "Campaign": 7}}'
    texts = [
        lambda: read_action({"action": "callWithPhone", "phone": f"{PHONE}&", "destination": [PHONE]}),
        lambda: read_action({"action": "respool", "object": {"destination": [PHONE], "data": PERSON}}),
        lambda: read_action({"action": PHONE}),
        lambda: Envelope.read(f'{{"porthole": "{TOKEN}", "data": "{PHONE}"'),
        lambda: CtiCall.read(cti),
        lambda: CtiCall.read(f"{PHONE}{PERSON}"),
        lambda: read_result(f'{{"action": "{PHONE}"}}'.encode(), {}, origin="https://forms.example"),
        lambda: read_result(
            f'{{"action": "{PHONE}", "outcome": "answered"}}'.encode(),
            {"Origin": "https://forms.example", "Content-Type": "application/json"},
            origin="https://forms.example",
        ),
    ]
    for text in texts:
        with place.failing():
            text()


@path("a service whose run fails")
async def service(place):
    with Scripted(ANSWERS["HTTP 500"]) as server:
        async with Service(lambda: UContact(server.url, token=TOKEN, timezone="UTC")) as held:
            place.seen.value(held)
            bad = place.folder / "bad.journal"
            bad.write_text(PHONE)
            with place.failing():
                await held.start("bad", held.client.stream(rows(3), journal=bad))
            going = await held.start("good", held.client.stream(rows(3), journal=place.folder / "good.journal"))
            place.seen.report(await going.finished())
            place.seen.value(going, going.look())


@path("the door for programs without a loop")
def door(place):
    with Scripted(ANSWERS["HTTP 500"]) as server:
        make = lambda: UContact(server.url, token=TOKEN, timezone="UTC")  # noqa: E731  a factory, as users write it
        with Blocking(make) as opened:
            place.seen.value(opened)
            with place.failing():
                opened.call(opened.client.send, CALL)
            for outcome in opened.iterate(opened.client.stream(rows(3))):
                place.seen.value(outcome)
        with place.failing():
            run(lambda uc: uc.send(CALL), make)
        with place.failing():
            run(lambda uc: uc.login(), lambda: UContact(server.url, user="api", password=PASSWORD, timezone="x"))


DATABASES = {
    "that is none": f"postgresql://fleet:{PASSWORD}@[",
    "out of reach": f"postgresql://fleet:{PASSWORD}@127.0.0.1:9/calls?connect_timeout=1",
    "with a wrong option": f"host=127.0.0.1 password={PASSWORD} nonsense=1",
}


def _database(address):
    async def fail(place):
        from ucontact_async.fleet.database import Database

        with place.failing():
            database = Database(address)
            place.seen.value(database)
            async with asyncio.timeout(1.5):
                async with database:
                    pass

    return fail


for _name, _address in DATABASES.items():
    path(f"a database {_name}")(_database(_address))

FILE = f"destination;calldate;data.name\n{PHONE};2099-05-05 10:00;{PERSON}\n{PHONE}&;2099-05-05 10:00;{PERSON}\n"
COMMANDS = {
    "schedule": ["schedule", "{file}", "--campaign", "Ventas->"],
    "schedule --dry-run": ["schedule", "{file}", "--campaign", "Ventas->", "--dry-run"],
    "respool": ["respool", "{file}", "--campaign", "Ventas->", "--no-journal"],
    "task": ["task", "{file}", "--campaign", "Ventas->", "--mode", "now", "--max-per-second", "99"],
    "remove": ["remove", "{file}", "--campaign", "Ventas->"],
    "dnc add": ["dnc", "add", PHONE, "--campaign", "*"],
    "undo of nothing": ["undo", "{folder}/none"],
    "unknown of nothing": ["unknown", "{file}"],
    "report of nothing": ["report", "{file}"],
    "status": ["status"],
    "doctor": ["doctor"],
    "recordings": ["recordings", "--since", "2099-01-01", "--until", "2099-01-02", "--folder", "{folder}/sound"],
    "upload": ["upload", "{file}", "--campaign", "Ventas->"],
    "fleet init": ["fleet", "init"],
    "fleet status": ["fleet", "status", "--database", f"postgresql://fleet:{PASSWORD}@["],
    "a password in the arguments": ["schedule", "{file}", "--password", PASSWORD],
    "a token in the arguments": ["status", f"--token={TOKEN}"],
    "an address with a password": ["status", "--url", f"https://api:{PASSWORD}@acme.example"],
    "an option that is none": ["schedule", "{file}", "--nonsense"],
    "no command": [],
    **{f"{name} --help": [*name.split(), "--help"] for name in ("schedule", "undo", "status", "fleet worker", "probe")},
}


def _command(arguments):
    def fail(place):
        file = place.folder / "contacts.csv"
        file.write_text(FILE)
        given = [a.format(file=file, folder=place.folder) if a != PHONE else a for a in arguments]
        with Scripted(ANSWERS["HTTP 500"]) as server:
            names = {"URL": server.url, "TOKEN": TOKEN, "TIMEZONE": "UTC", "PASSWORD": PASSWORD}
            if "a password" in place.seen.name:
                names.pop("TOKEN")
            names["DATABASE"] = DATABASES["out of reach"]
            before = dict(os.environ)
            os.environ.update({f"UCONTACT_{name}": value for name, value in names.items()})
            os.environ["PYTHONASYNCIODEBUG"] = "1"
            stdin, sys.stdin = sys.stdin, io.StringIO("")
            try:
                main(given)
            except SystemExit as end:
                place.seen.value(end.code)
            except Exception as error:  # noqa: BLE001  the same
                place.seen.error(error)
            finally:
                sys.stdin = stdin
                os.environ.clear()
                os.environ.update(before)
        place.seen.files("journal", Path(f"{file}.journal"))
        place.seen.files("rejects file", Path(f"{file}.rejects.csv"))

    return fail


for _name, _arguments in COMMANDS.items():
    path(f"ucontact-async {_name}")(_command(_arguments))

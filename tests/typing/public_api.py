"""What type checkers see of the package: only checked, never run.

Each ``type: ignore`` is a mistake that must be found: mypy's ``--strict`` and the line below for pyright turn an
ignore that hides nothing into an error.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, assert_type
from zoneinfo import ZoneInfo

from ucontact_async import (
    Abandoned,
    AgentCall,
    BlockNumber,
    CallWorkflow,
    CampaignStatus,
    Cap,
    DialAudit,
    DialerTask,
    Dialled,
    DialRules,
    Disposition,
    DoNotCall,
    Downloaded,
    DownloadReport,
    FileTokenStore,
    GateClosed,
    GetQueueSummary,
    HangUp,
    InvalidRequest,
    JournalRow,
    JournalRows,
    Limiter,
    LimiterStats,
    ListFile,
    ListRow,
    ListWriter,
    NotSent,
    OtherStatus,
    Outcome,
    OutcomeUnknown,
    Progress,
    QueueSummary,
    Recording,
    RemoveContact,
    RemoveSchedule,
    ReplaceSchedule,
    Reply,
    Report,
    Request,
    Respool,
    Safety,
    ScheduledCall,
    ServerProfile,
    Table,
    Throttled,
    TypedNumber,
    UContact,
    UContactError,
    UploadReport,
    Window,
    audit_double_dials,
    open_journal,
)
from ucontact_async.api.dialers import Dialers
from ucontact_async.api.session import GetUserToken, Session
from ucontact_async.portal import (
    CallAction,
    CtiReply,
    GuidReply,
    HangUpAction,
    Markup,
    RespoolAction,
    Result,
    TagAction,
    read_result,
    render_action,
)

WHEN = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
DISPOSITION = Disposition(campaign="a->", agent="ana", callerid="1001", guid="5f3a1c9e", level1="a", schedule=WHEN)
CALL = ScheduledCall(campaign="a->", destination="1001", calldate=WHEN, alternatives=["1002"], data={"id": "7"})


def clients() -> None:
    """Build clients."""
    assert_type(UContact("https://acme", user="api", password="x", timezone="America/Montevideo"), UContact)
    UContact("https://acme", token="x", token_scheme="Bearer", timezone=ZoneInfo("UTC"), limiter=Limiter(8))
    UContact("https://acme", token="x", token_store=FileTokenStore("token"), profile=ServerProfile(trust_429=False))
    assert_type(UContact.from_env(), UContact)
    assert_type(UContact.from_env({"UCONTACT_URL": "https://acme"}), UContact)
    UContact("https://acme", token="x", profile=ServerProfile(hangup="HangupPhone"))
    ServerProfile(hangup="HangUp")  # type: ignore[arg-type]  # no published spelling
    UContact()  # type: ignore[call-arg]  # no address
    UContact("https://acme", "api", "x")  # type: ignore[call-arg]  # positionals
    UContact("https://acme", usr="api")  # type: ignore[call-arg]  # a wrong name
    UContact("https://acme", token=b"x")  # type: ignore[arg-type]  # bytes
    UContact("https://acme", token="x", token_scheme="Digest")  # type: ignore[arg-type]  # no such scheme
    UContact("https://acme", token="x", lane="fast")  # type: ignore[arg-type]  # no such lane
    UContact("https://acme", token="x", limiter=8)  # type: ignore[arg-type]  # a number is no limiter


def requests() -> None:
    """Build requests: the constructor of each type knows its fields."""
    assert_type(CALL.alternatives, Sequence[str])
    assert_type(CALL.data, Mapping[str, str])
    assert_type(CALL.calldate, datetime)
    assert_type(DialerTask(campaign="a->", destination="1001").calldate, datetime | None)
    ScheduledCall(campaign="a->", destination="1001")  # type: ignore[call-arg]  # calldate is missing
    ScheduledCall("a->", "1001", WHEN)  # type: ignore[call-arg]  # positionals
    ScheduledCall(campaign="a->", number="1001", calldate=WHEN)  # type: ignore[call-arg]  # a wrong name
    ScheduledCall(campaign="a->", destination=1001, calldate=WHEN)  # type: ignore[arg-type]  # a number
    ScheduledCall(campaign="a->", destination=None, calldate=WHEN)  # type: ignore[arg-type]  # nothing
    ScheduledCall(campaign="a->", destination="1001", calldate="2026-01-15")  # type: ignore[arg-type]  # text
    ScheduledCall(campaign="a->", destination="1001", calldate=None)  # type: ignore[arg-type]  # no date
    ScheduledCall(campaign="a->", destination="1001", calldate=WHEN, data={"id": 7})  # type: ignore[dict-item]
    ScheduledCall(campaign="a->", destination="1001", calldate=WHEN, data={"id"})  # type: ignore[arg-type]  # a set
    ScheduledCall(campaign="a->", destination="1001", calldate=WHEN, alternatives={"1"})  # type: ignore[arg-type]
    ScheduledCall(campaign="a->", destination="1001", calldate=WHEN, alternatives=[1])  # type: ignore[list-item]
    CALL.destination = "1002"  # type: ignore[misc]  # requests are frozen
    AgentCall(agent="ana", phone="1001", destination="1002")  # type: ignore[call-arg]  # outqueue is missing
    AgentCall(agent="ana", phone=1001, destination="1002", outqueue="a->")  # type: ignore[arg-type]  # a number
    assert_type(DISPOSITION.schedule, datetime | None)
    Disposition(campaign="a->", agent="ana", callerid="1", guid="x", l1="a")  # type: ignore[call-arg]  # the wire's name
    assert_type(CallWorkflow(context="a", extension="b").params, Mapping[str, Any])
    CallWorkflow(context="a", extension="b", params="{}")  # type: ignore[arg-type]  # text
    assert_type(BlockNumber(phone="1001").campaign, str)
    BlockNumber(phone="1001", campaign=None)  # type: ignore[arg-type]  # all campaigns are "*"
    RemoveContact(campaign="a->", number="1001")  # type: ignore[call-arg]  # the name on the wire, not ours
    RemoveSchedule(campaign="a->", destination="1001", since=WHEN)  # type: ignore[call-arg]  # no end
    Request()  # a bare request can be built, and is of no use


def journals() -> None:
    """Look at a journal and settle a row."""
    with open_journal("run.db") as journal:
        assert_type(journal, JournalRows)
        for row in journal.unknown():
            assert_type(row, JournalRow)
            assert_type(row.request, Request[Any] | None)
            journal.resolve(row.key, "failed")
            journal.resolve(row.key, "unknown")  # type: ignore[arg-type]  # that it was before
    open_journal(1.5)  # type: ignore[arg-type]  # no path


def constructors() -> None:
    """Build tasks and respools by the uses that the page documents."""
    assert_type(DialerTask.urgent(campaign="a->", destination="1001"), DialerTask)
    assert_type(DialerTask.scheduled(campaign="a->", destination="1001", calldate=WHEN), DialerTask)
    assert_type(DialerTask.for_agent(campaign="a->", destination="1001", agent="ana"), DialerTask)
    assert_type(Respool.from_cti("{}"), Respool)
    assert_type(Respool.from_cti({"Campaign": 1}, destination="1001", alternatives=("1002",), priority=2), Respool)
    DialerTask.urgent("a->", "1001")  # type: ignore[call-arg]  # positionals
    DialerTask.urgent(campaign="a->", destination="1001", calldate=WHEN)  # type: ignore[call-arg]  # urgent has none
    DialerTask.scheduled(campaign="a->", destination="1001")  # type: ignore[call-arg]  # calldate is missing
    DialerTask.for_phone(campaign="a->", destination="1001", phone=1001)  # type: ignore[arg-type]  # a number
    Respool.from_cti("{}", campaign="b->")  # type: ignore[call-arg]  # the campaign may not be changed
    Respool.from_cti([])  # type: ignore[arg-type]  # no call object


async def coroutines(uc: UContact) -> None:
    """Call endpoints: parameters and reply come from the declaration."""
    await uc.dialers.schedule(campaign="a->", destination="1001", calldate=WHEN, data={"id": "7"})
    nothing: Coroutine[Any, Any, None] = uc.dialers.remove_contact(campaign="a->", destination="1001")
    await nothing
    assert_type(await uc.calls.dial(agent="ana", phone="1001", destination="1002", outqueue="a->"), str)
    await uc.calls.dial(agent="ana", phone="1001", destination="1002", queue="a->")  # type: ignore[call-arg]  # no such
    await uc.calls.dial_with_data(agent="a", phone="1", destination="2", outqueue="a->")  # type: ignore[call-arg]  # data
    none: Coroutine[Any, Any, None] = uc.calls.hangup(phone="1001")
    await none
    guid: Coroutine[Any, Any, str] = uc.calls.workflow(context="a", extension="b")  # type: ignore[assignment]
    await guid
    await uc.calls.disposition(campaign="a->", agent="ana", callerid="", guid="5f3a1c9e", level1="a", comment="x")
    await uc.calls.block(phone="1001", campaign="a->", company="ACME")
    text: Coroutine[Any, Any, str] = uc.dialers.remove_contact(campaign="a->", destination="1")  # type: ignore[assignment]
    await text
    await uc.dialers.schedule("a->", "1001", WHEN)  # type: ignore[call-arg]  # positionals
    await uc.dialers.schedule(campaign="a->", destination="1001")  # type: ignore[call-arg]  # calldate is missing
    await uc.dialers.schedule(campaign="a->", number="1001", calldate=WHEN)  # type: ignore[call-arg]  # a wrong name
    await uc.dialers.schedule(campaign="a->", destination="1001", calldate="now")  # type: ignore[arg-type]  # text
    await uc.dialers.respool(campaign="a->", destination="1", dialerbase="b", contact="1")  # type: ignore[arg-type]
    await uc.dialers.task(campaign="a->", destination="1001", bulk="yes")  # type: ignore[arg-type]  # no boolean
    await uc.dialers.remove_contact(campaign="a->", destination="1001", since=WHEN)  # type: ignore[call-arg]
    uc.dialers.scheduel  # type: ignore[attr-defined]  # noqa: B018  a misspelt endpoint
    uc.dialers.schedule = nothing  # type: ignore[assignment]  # a declaration is not replaced


async def values(uc: UContact) -> None:
    """Send the same as values: the reply is the request's."""
    assert_type(await uc.send(GetUserToken(user="api", password="x")), str)
    await uc.send(CALL)
    assert_type(await uc.send(AgentCall(agent="ana", phone="1001", destination="1002", outqueue="a->")), str)
    await uc.send(HangUp(phone="1001"))
    text: str = await uc.send(CALL)  # type: ignore[arg-type]  # a schedule returns nothing
    del text
    await uc.send("Dialers/Respool")  # type: ignore[arg-type]  # no request
    await uc.send(ScheduledCall)  # type: ignore[arg-type]  # its class


async def live(uc: UContact) -> None:
    """Read what goes on, once and at intervals."""
    assert_type(await uc.campaigns.summary(), list[QueueSummary])
    assert_type(await uc.send(GetQueueSummary()), list[QueueSummary])
    for status in (await uc.campaigns.status(queue="a->")).values():
        assert_type(status, CampaignStatus | OtherStatus)
    async for snapshot in uc.campaigns.watch(every=5):
        assert_type(snapshot.data, list[QueueSummary])
        assert_type(snapshot.at, datetime | None)
        assert_type(snapshot.stale, bool)
        assert_type(snapshot.error, UContactError | None)
        assert_type(snapshot.data[0].callers, int | None)
    async for other in uc.campaigns.watch_status(queue="a->"):
        assert_type(other.data, dict[str, CampaignStatus | OtherStatus])
    await uc.campaigns.summary(queue="a->")  # type: ignore[call-arg]  # a summary has no field
    await uc.campaigns.status(campaign="a->")  # type: ignore[call-arg]  # a wrong name
    await uc.campaigns.status(queue=7)  # type: ignore[arg-type]  # a number
    uc.campaigns.watch(every="5")  # type: ignore[arg-type]  # text
    uc.campaigns.watch(5)  # type: ignore[call-arg]  # positionals


async def escape_hatch(uc: UContact) -> None:
    """Call what the page does not list: the reply is that of the reader."""
    assert_type(await uc.request("x", {"a": "b"}, reply=Reply.TEXT, safety=Safety.READ), str)
    assert_type(await uc.request("x", {}, reply=Reply.GUID, safety=Safety.ONCE), str)
    await uc.request("x", {}, reply=Reply.OK, safety=Safety.ONCE)
    await uc.request("x", {}, reply=Reply.DONE, safety=Safety.ONCE)
    await uc.request("x", {}, reply=Reply.TEXT)  # type: ignore[call-arg]  # the safety must be said
    await uc.request("x", {}, reply="text", safety=Safety.READ)  # type: ignore[arg-type]  # no reader
    await uc.request("x", {"a": 1}, reply=Reply.TEXT, safety=Safety.READ)  # type: ignore[dict-item]  # a number


async def many(uc: UContact, lazily: Iterator[ScheduledCall], slowly: AsyncIterator[Request[Any]]) -> None:
    """Send many: any iterable, kinds mixed."""
    report = await uc.bulk([CALL, RemoveContact(campaign="a->", destination="1001")], journal="run.db")
    assert_type(report, Report)
    assert_type(report.succeeded, int)
    await uc.bulk(lazily, max_concurrency="auto", max_failures="1%", on_duplicate="skip")
    async with uc.stream(slowly, max_concurrency=8, ordered=True) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome)
            assert_type(outcome.error, UContactError | None)
    async with uc.stream(lazily) as run:
        async for event in run.events(every=0.5):
            if isinstance(event, Progress):
                assert_type(event.gate, Literal["open", "closed", "probing"])
            elif isinstance(event, GateClosed):
                assert_type(event.seconds, float)
    uc.listen(print, GateClosed, Abandoned)
    uc.listen(print, Progress.rows)  # type: ignore[arg-type]  # no kind of event
    await uc.bulk([CALL], journal="run.db", on_unknown=ReplaceSchedule(quarantine=900, margin=60))
    audit = await audit_double_dials(uc.recordings.search(since=WHEN, until=WHEN), "run.db")
    assert_type(audit, DialAudit)
    assert_type(audit.twice, list[Dialled])
    rules = DialRules(
        windows=(Window("09:00", "20:00", "mon-fri"),),
        zone=lambda request: None,
        not_after=lambda request: WHEN,
        do_not_call=(DoNotCall({"099123456"}, as_of=WHEN), DoNotCall(lambda number: number == "099123456")),
        caps=(Cap(3, hours=24),),
        regions=("UY",),
    )
    await uc.bulk(Table([{"destination": "099123456"}], "respool", campaign="a->"), rules=rules)
    await uc.bulk([CALL], rules={"zone": "UTC"})  # type: ignore[arg-type]  # not what read_rules returns
    DialRules(costly="maybe")  # type: ignore[arg-type]  # no such answer
    await uc.bulk([CALL], on_unknown="retry")  # type: ignore[arg-type]  # no such policy
    await uc.bulk([CALL], max_concurency=8)  # type: ignore[call-arg]  # misspelt
    await uc.bulk([CALL], max_concurrency="many")  # type: ignore[arg-type]  # no number
    await uc.bulk([CALL], on_duplicate="drop")  # type: ignore[arg-type]  # no such rule
    await uc.bulk(CALL)  # type: ignore[arg-type]  # one request is no list


async def recordings(uc: UContact, made: Recording) -> None:
    """Search, locate, download: any iterable of recordings."""
    found = uc.recordings.search(since=WHEN, until=WHEN, campaign="a->", min_duration=30)
    async for recording in found:
        assert_type(recording, Recording)
        assert_type(recording.calldate, datetime | None)
    assert_type(await uc.recordings.download(made, "folder", format="any"), Downloaded)
    assert_type((await uc.recordings.locate(made)).size, int | None)
    assert_type(await uc.recordings.download_all(found, "folder", max_concurrency=4), DownloadReport)
    assert_type(await uc.recordings.download_all([made], "folder"), DownloadReport)
    assert_type(await uc.recordings.find(since=WHEN, until=WHEN, after=50), tuple[Recording, ...])
    await uc.recordings.tag(phone="1001", guid=made.guid, data="x")
    await uc.recordings.convert(guid=made.guid)
    await uc.recordings.download(made, "folder", format="wav")  # type: ignore[arg-type]  # no such format
    await uc.recordings.download("guid", "folder")  # type: ignore[arg-type]  # no recording
    uc.recordings.search(since=WHEN)  # type: ignore[call-arg]  # no end


async def lists(uc: UContact, rows: Iterator[ListRow]) -> None:
    """Upload lists: rows in, a report out, or one file as a request."""
    report = await uc.dialers.upload(rows, campaign="a->", name="list", rows_per_file=10)
    assert_type(report, UploadReport)
    assert_type(report.files[0].error, UContactError | None)
    await uc.dialers.upload_with_timezone([ListRow(destination="1001")], timezone="UTC", campaign="a->", username="ana")
    ListRow(destination=TypedNumber(kind="M", number="1001"), alternatives=["1002", TypedNumber(kind="P", number="1")])
    await uc.bulk(ListWriter(campaign="a->").files(rows), journal="run.db")
    await uc.send(ListFile(campaign="a->", name="a.csv", content=b"x", rows=1))
    await uc.dialers.upload_file(campaign="a->", name="a.csv", content=b"x", rows=1)
    await uc.dialers.upload(rows)  # type: ignore[call-arg]  # no campaign
    await uc.dialers.upload(rows, campaign="a->", timezone="UTC")  # type: ignore[call-arg]  # there is another for that
    await uc.dialers.upload_with_timezone(rows, campaign="a->")  # type: ignore[call-arg]  # no time zone
    await uc.dialers.upload([CALL], campaign="a->")  # type: ignore[list-item]  # no row of a list
    TypedNumber(kind="X", number="1001")  # type: ignore[arg-type]  # no such kind
    ListFile(campaign="a->", name="a.csv", content="x", rows=1)  # type: ignore[arg-type]  # text is no file


async def lifetime() -> None:
    """Open, share and close."""
    async with UContact("https://acme", token="x") as uc:
        assert_type(uc, UContact)
        assert_type(uc.with_options(timeout=5, priority="bulk"), UContact)
        assert_type(uc.limiter, Limiter)
        assert_type(uc.limiter.stats, LimiterStats)
        uc.with_options(priority="low")  # type: ignore[arg-type]  # no such priority
        uc.limiter.max_concurrency = "many"  # type: ignore[assignment]  # no number
        uc.limiter.max_concurrency = "auto"


def errors(error: UContactError) -> None:
    """Read what errors carry."""
    assert_type(error.may_have_happened, bool)
    if isinstance(error, Throttled):
        assert_type(error.retry_after, float | None)
        assert_type(error.status, int)
    elif isinstance(error, NotSent):
        assert_type(error.transient, bool)
    elif isinstance(error, OutcomeUnknown):
        assert_type(error.phase, str)
    elif isinstance(error, InvalidRequest):
        assert_type(error.field, str)
    else:
        print(error.status)  # type: ignore[attr-defined]


def declarations() -> None:
    """Read a declaration as data."""
    assert_type(Dialers.schedule.path, str)
    assert_type(Dialers.schedule.safety, Safety)
    assert_type(Dialers.schedule.request(campaign="a->", destination="1001", calldate=WHEN), Request[None])
    assert_type(Session.user_login.reply, Reply[str])
    Dialers.schedule.request(campaign="a->")  # type: ignore[call-arg]  # as strict as the coroutine


def portal(body: bytes, headers: Mapping[str, str]) -> None:
    """Render an action for the agent portal and read what came of it."""
    assert_type(render_action(HangUpAction(), "Hang up", portal_origin="https://a", result_path="/r"), Markup)
    result = read_result(body, headers, origin="https://b")
    assert_type(result, Result)
    assert_type(result.reply, GuidReply | CtiReply | None)
    if isinstance(result.reply, CtiReply):
        RespoolAction(respool=Respool.from_cti(result.reply.cti.to_cti()))
    elif isinstance(result.reply, GuidReply):
        TagAction(guid=result.reply.guid, message="angry")
    CallAction(campaign="a->")  # type: ignore[call-arg]  # no destination
    RespoolAction(respool=CALL)  # type: ignore[arg-type]  # no respool
    render_action(CALL, "Call", portal_origin="https://a", result_path="/r")  # type: ignore[arg-type]  # no action

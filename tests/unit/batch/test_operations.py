"""Rows to requests: the table is walked, cells are read, and errors speak the user's column names."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.api import endpoint_of
from ucontact_async.api.calls import BlockNumber
from ucontact_async.api.dialers import DialerTask, RemoveContact, RemoveSchedule, Respool, ScheduledCall
from ucontact_async.batch.columns import COLUMNS
from ucontact_async.batch.operations import IDENTITY, OPERATIONS, identities_of, identity_of, plan
from ucontact_async.batch.sources import CsvSource, Row
from ucontact_async.endpoint import Safety
from ucontact_async.errors import InvalidRequest, SettingsError
from ucontact_async.text import Rules

SANTIAGO = ZoneInfo("America/Santiago")
RULES = Rules(SANTIAGO)
CELLS = {
    "campaign": "Ventas->",
    "destination": "090000001",
    "calldate": "2027-03-01 10:00",
    "dialerbase": "lista",
    "contact": "7",
}


def request_of(operation, cells, *, campaign=None, mapping=None):
    return plan(cells, OPERATIONS[operation], campaign=campaign, mapping=mapping).request(Row(17, dict(cells)))


def refusal_of(operation, cells, **options):
    with pytest.raises(InvalidRequest) as caught:
        request_of(operation, cells, **options)
    return caught.value


def cells_of(operation, **more):
    return {name: CELLS[name] for name in OPERATIONS[operation].required} | more


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_operation_is_whole(operation):
    """Every operation builds a request that its endpoint can encode, of columns that are all described."""
    assert OPERATIONS[operation.name] is operation
    assert operation.help
    names = {*operation.required, *operation.optional}
    assert names <= COLUMNS.keys()
    assert {"campaign", "destination"} <= names
    request = request_of(operation.name, cells_of(operation.name) | {"data.id": "7"})
    safety = endpoint_of(request).safety
    assert operation.repeatable == (safety is Safety.REPEATABLE)
    assert (type(request) in IDENTITY) == (safety is Safety.ONCE)
    assert operation.pairs == hasattr(request, "data")
    if operation.pairs:
        assert request.data == {"id": "7"}
    assert endpoint_of(request).encode(request, RULES)


def test_a_row_becomes_a_removal():
    """Without a range a number is taken off the spool, with one off the schedule; half a range is refused."""
    cells = cells_of("remove")
    assert request_of("remove", cells | {"since": "", "until": " "}) == RemoveContact(
        campaign="Ventas->", destination="090000001"
    )
    ranged = cells | {"desde": "2027-03-01 10:00", "until": "2027-03-01 11:00:30"}
    assert request_of("remove", ranged, mapping={"since": "desde"}) == RemoveSchedule(
        campaign="Ventas->",
        destination="090000001",
        since=datetime(2027, 3, 1, 10),
        until=datetime(2027, 3, 1, 11, 0, 30),
    )
    error = refusal_of("remove", ranged | {"desde": ""}, mapping={"since": "desde"})
    assert (error.field, "give both" in error.reason) == ("desde", True)
    assert refusal_of("remove", cells | {"since": "2027-03-01 10:00", "until": ""}).field == "until"


def test_a_row_becomes_an_entry_of_the_do_not_call_list():
    """Without a campaign a number is blocked for all of them; its rule is told under the file's column."""
    assert request_of("dnc-add", {"destination": "090000001"}) == BlockNumber(phone="090000001", campaign="*")
    full = {"Telefono": "090000001", "campaign": "Ventas->", "name": "Ana", "job_title": "x", "company": "y"}
    planned = plan(full, OPERATIONS["dnc-add"], mapping={"destination": "Telefono"})
    request = planned.request(Row(2, full))
    assert (request.campaign, request.name, request.job_title, request.company) == ("Ventas->", "Ana", "x", "y")
    assert planned.column_of("phone") == "Telefono"
    for campaign in ("*", "Ventas", "Ventas->"):
        plan({"destination": ""}, OPERATIONS["dnc-add"], campaign=campaign).check([], RULES)


def test_a_column_of_pairs_where_there_are_none():
    """An operation without form data leaves such columns alone instead of failing on them."""
    planned = plan({"campaign": "", "destination": "", "data.id": ""}, OPERATIONS["remove"])
    assert planned.ignored == ("data.id",)


@pytest.mark.parametrize("outcome", ["unknown", "duplicate"])
def test_what_may_be_repeated_is_taken_from_a_rejects_file(outcome):
    """Rows of unknown outcome are held back only where a second time does harm."""
    assert request_of("remove", cells_of("remove") | {"outcome": outcome})
    assert refusal_of("schedule", cells_of("schedule") | {"outcome": outcome}).field == "outcome"


def test_every_column_is_used():
    """Every column that is described belongs to an operation."""
    used = {name for operation in OPERATIONS.values() for name in (*operation.required, *operation.optional)}
    assert used == COLUMNS.keys()


def test_a_row_becomes_a_scheduled_call():
    """Cells lose the blanks around them, empty ones take the default, every data column becomes a pair."""
    cells = cells_of("schedule", alternatives=" 090000002 : 090000003:", agentphone=" ")
    cells |= {"data.id": " 7 ", "DATA. Name ": "Ñandú", "data.none": "  "}
    assert request_of("schedule", cells) == ScheduledCall(
        campaign="Ventas->",
        destination="090000001",
        calldate=datetime(2027, 3, 1, 10),
        alternatives=("090000002", "090000003"),
        data={"id": "7", "Name": "Ñandú"},
    )


def test_a_row_becomes_a_respool():
    """Whole numbers are read as numbers."""
    request = request_of("respool", cells_of("respool", priority="10", retries="2"))
    expected = Respool(
        campaign="Ventas->", destination="090000001", dialerbase="lista", contact=7, priority=10, retries=2
    )
    assert request == expected


@pytest.mark.parametrize(
    ("mode", "bulk", "automatic"),
    [("priority", False, True), ("scheduled", True, False), ("dialer", True, True), ("now", False, False)],
)
def test_the_modes_of_a_task(mode, bulk, automatic):
    """Each mode sets the two switches that the vendor's page gives for it."""
    request = request_of(f"task-{mode}", cells_of(f"task-{mode}", source="web"))
    assert isinstance(request, DialerTask)
    assert (request.bulk, request.automatic, request.source) == (bulk, automatic, "web")


@pytest.mark.parametrize(("agent", "phone", "sent"), [("Ana", "", "Ana"), ("", "1001", "1001"), ("", "", "")])
def test_a_task_for_an_agent_or_an_extension(agent, phone, sent):
    """An agent's user name or extension goes out as the agent; neither is any agent."""
    assert request_of("task-dialer", cells_of("task-dialer", agent=agent, agentphone=phone)).agent == sent


def test_a_task_for_both_is_refused():
    """A row that names an agent and an extension is refused under the user's name of the column."""
    cells = cells_of("task-dialer", Agente="Ana", agentphone="1001")
    error = refusal_of("task-dialer", cells, mapping={"agent": "Agente"})
    assert (error.field, "keep one" in error.reason) == ("Agente", True)


def test_an_extension_that_is_none_names_its_column():
    """The extension's rule, which knows another name, is told under the user's."""
    cells = cells_of("task-dialer", interno="x")
    assert refusal_of("task-dialer", cells, mapping={"agentphone": "interno"}).field == "interno"
    settled = plan(cells, OPERATIONS["task-dialer"], mapping={"agentphone": "interno"})
    assert settled.column_of("agent") == "interno"


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("calldate", "31/12/2027 10:00", "'00/00/0000 00:00' (0 for any digit) is not YYYY-MM-DD HH:MM[:SS]"),
        ("calldate", "2027-02-30 10:00", "not a real date"),
        ("calldate", "", "is empty"),
        ("destination", "  ", "is empty"),
        ("destination", "9,8344484E+07", "spreadsheet"),
        ("destination", "9.8344484e7", "spreadsheet"),
        ("destination", "98344484.0", "spreadsheet"),
        ("destination", "98344484E7", "spreadsheet"),
        ("alternatives", "090000002:98344484,00", "spreadsheet"),
        ("agentphone", "1001.0", "spreadsheet"),
    ],
)
def test_a_bad_cell_names_the_users_column(column, text, reason):
    """A cell that cannot be read is refused under the name the file gives its column, without its digits."""
    cells = cells_of("schedule", alternatives="", agentphone="")
    cells[column] = text
    theirs = {f"Su {name}": cell for name, cell in cells.items()}
    error = refusal_of("schedule", theirs, mapping={name: f"Su {name}" for name in cells})
    assert error.field == f"Su {column}"
    assert reason in error.reason
    assert not any(part in error.reason for part in ("98344484", "2027", "8344"))


@pytest.mark.parametrize("text", ["x", "1.0", "-1", "٣", "1e3", "9" * 5000])
@pytest.mark.parametrize("column", ["contact", "priority", "retries"])
def test_a_number_is_whole_and_decimal(column, text):
    """A contact, a priority and a number of retries are digits, nothing else."""
    error = refusal_of("respool", cells_of("respool") | {column: text})
    assert (error.field, error.reason) == (column, "is not a whole number in digits")


def test_a_row_with_a_problem_is_invalid():
    """What the source could not read is refused with the source's words."""
    settled = plan(CELLS, OPERATIONS["schedule"])
    with pytest.raises(InvalidRequest, match="row: has 9 cells"):
        settled.request(Row(3, {"campaign": "x"}, "has 9 cells, the header names 8"))


def test_columns_are_known_in_any_case():
    """Our names are found whatever their case and the blanks around them."""
    cells = {" Campaign": "Ventas->", "DESTINATION ": "090000001", "CallDate": "2027-03-01T10:00Z"}
    assert request_of("schedule", cells).calldate == datetime(2027, 3, 1, 10, tzinfo=UTC)


def test_ignored_columns_are_told():
    """What nothing is made of is listed, but for the columns that a report adds."""
    columns = [*CELLS, "Apellido", "row", "Outcome", "reason"]
    assert plan(columns, OPERATIONS["schedule"]).ignored == ("dialerbase", "contact", "Apellido")
    assert plan(columns, OPERATIONS["respool"]).ignored == ("calldate", "Apellido")


def test_a_mapping_wins_over_a_name():
    """A mapped column stands for ours, even where the file has one of our name; one may serve twice."""
    cells = cells_of("schedule", Tel="090000009")
    mapping = {"destination": " tel", "data.tel": "Tel"}
    settled = plan(cells, OPERATIONS["schedule"], mapping=mapping)
    assert settled.ignored == ("destination",)
    assert settled.request(Row(2, cells)).destination == "090000009"
    assert settled.request(Row(2, cells)).data == {"tel": "090000009"}
    assert (settled.column_of("destination"), settled.column_of("data.tel")) == ("Tel", "Tel")


def test_a_column_mapped_away_loses_its_own_meaning():
    """A file's ``agent`` that is mapped to the destination is not the agent as well."""
    cells = {"campaign": "Ventas->", "agent": "090000001"}
    request = request_of("task-now", cells, mapping={"destination": "agent"})
    assert (request.destination, request.agent) == ("090000001", "")


@pytest.mark.parametrize(
    ("columns", "options", "complaint"),
    [
        ("campaign calldate Teléfono", {}, "add --map destination='Teléfono', if that is what they mean"),
        (
            "campaign calldate Destinatario",
            {},
            "no column destination but .*; add --map destination='Destinatario', if",
        ),
        (
            "campaign calldate Zona",
            {},
            "no column destination but campaign, calldate, Zona; add --map destination=COLUMN",
        ),
        ("destination calldate Zona", {}, "no column campaign but .*; add --campaign 'Ventas->'$"),
        ("destination calldate", {"campaign": " "}, "--campaign is empty"),
        ("campaign destination calldate Destination", {}, "'destination' and 'Destination' both mean destination"),
        ("campaign destination calldate data.x Data.x", {}, "'data.x' and 'Data.x' both mean data.x"),
        ("campaign destination calldate data.", {}, "column data.: a name is not empty"),
        ("campaign destination calldate data.a=b", {}, "column data.a=b: a name"),
        ("campaign destination calldate", {"mapping": {"destinaton": "x"}}, "did you mean destination"),
        ("campaign destination calldate", {"mapping": {"priority": "x"}}, "schedule has no column 'priority'"),
        ("campaign destination calldate", {"mapping": {"agentphone": "x"}}, "the file has no column 'x' but campaign,"),
    ],
)
def test_columns_that_do_not_fit_are_refused_at_once(columns, options, complaint):
    """What is wrong with the columns is told before the first row, with what to write instead."""
    with pytest.raises(SettingsError, match=complaint):
        plan(columns.split(), OPERATIONS["schedule"], **options)


def test_a_common_campaign_fills_what_is_empty():
    """``--campaign`` serves rows without one and rows that say the same."""
    cells = cells_of("schedule")
    for own in ("", " ", "Ventas->"):
        assert request_of("schedule", cells | {"campaign": own}, campaign="Ventas->").campaign == "Ventas->"
    del cells["campaign"]
    assert request_of("schedule", cells, campaign=" Ventas-> ").campaign == "Ventas->"
    assert plan(cells, OPERATIONS["schedule"], campaign="Ventas->").column_of("campaign") == "--campaign"


def test_another_campaign_is_a_contradiction():
    """A row that names another campaign stops the run, even where another of its cells is wrong too."""
    cells = {"destination": "", "calldate": "x", "Cola": "Cobros->"}
    with pytest.raises(SettingsError, match="row 17: column Cola says 'Cobros->', --campaign says 'Ventas->'"):
        request_of("schedule", cells, campaign="Ventas->", mapping={"campaign": "Cola"})
    with pytest.raises(SettingsError, match=r"says '09000\*\*\*\*'"):
        request_of("schedule", cells | {"Cola": "090000001"}, campaign="Ventas->", mapping={"campaign": "Cola"})


def test_the_encoders_errors_can_be_told_in_the_users_words():
    """A field that the encoder refuses is found under the user's name."""
    cells = cells_of("schedule", **{"Data.nota": "a=b"})
    settled = plan(cells, OPERATIONS["schedule"])
    with pytest.raises(InvalidRequest) as caught:
        endpoint_of(request := settled.request(Row(2, cells))).encode(request, RULES)
    assert settled.column_of(caught.value.field) == "Data.nota"
    assert settled.column_of("alternatives") == "alternatives"


def call(**fields):
    return ScheduledCall(**{"campaign": "Ventas->", "destination": "090000001", "calldate": NOON} | fields)


NOON = datetime(2027, 3, 1, 15, tzinfo=UTC)


def test_the_same_call_has_one_identity():
    """What the customer notices counts: campaign, number and moment, not the form's data or a dash."""
    same = identity_of(call(), b"")
    assert same == identity_of(call(data={"id": "7"}, alternatives=["090000002"]), b"other")
    assert same == identity_of(call(destination="0900-00001", calldate=NOON.astimezone(SANTIAGO)), b"")
    assert same == identity_of(call(calldate=NOON + timedelta(microseconds=5)), b"")
    for other in ({"campaign": "Cobros->"}, {"destination": "090000002"}, {"calldate": NOON + timedelta(seconds=1)}):
        assert identity_of(call(**other), b"") != same


def test_the_identity_follows_the_servers_clock():
    """With the server's zone, a time with an offset and the same local time without one are the same call."""
    local = NOON.astimezone(SANTIAGO).replace(tzinfo=None)
    assert identity_of(call(), b"", SANTIAGO) == identity_of(call(calldate=local), b"", SANTIAGO)
    assert identity_of(call(), b"") != identity_of(call(calldate=local), b"")


def test_the_identity_of_other_requests():
    """A respool is one of a contact, a task without a time one of a number; any other request is all it sends."""
    spool = {"campaign": "Ventas->", "destination": "090000001", "dialerbase": "lista"}
    assert identity_of(Respool(contact=1, **spool), b"") != identity_of(Respool(contact=2, **spool), b"")
    task = {"campaign": "Ventas->", "destination": "090000001"}
    assert identity_of(DialerTask.urgent(**task), b"") == identity_of(DialerTask.urgent(**task, data={"a": "b"}), b"")
    assert identity_of(RemoveContact(**task), b"a") != identity_of(RemoveContact(**task), b"b")
    assert identity_of(RemoveContact(**task), b"a") == identity_of(RemoveContact(**task), b"a")


def test_a_journal_of_an_earlier_version_knows_the_same_calls():
    """Identities are on disk: another one would have a row sent again."""
    task = {"campaign": "Ventas->", "destination": "0900-00001"}
    known = {
        7215649443412635434: ScheduledCall(calldate=NOON, **task),
        -3096608510077851008: DialerTask.urgent(**task),
        9047069760715210830: Respool(contact=7, dialerbase="lista", **task),
        -8839819272582161067: RemoveContact(**task),
    }
    for identity, request in known.items():
        assert identity_of(request, b"body", SANTIAGO) == identity


@given(st.lists(st.datetimes(datetime(2027, 1, 1), datetime(2027, 2, 1)), min_size=1, max_size=4), st.booleans())
def test_a_block_has_the_identities_of_its_requests(moments, aware):
    """Together, with their moments as they are sent, and one by one requests are the same calls."""
    zone = UTC if aware else None
    requests = [call(calldate=moment.replace(tzinfo=zone), destination=f"09-{at}") for at, moment in enumerate(moments)]
    prepared, block = endpoint_of(requests[0]).prepare_all(requests, RULES)
    bodies, sent = [one.body for one in prepared], block.sent["calldate"]
    alone = [identity_of(request, body, SANTIAGO) for request, body in zip(requests, bodies, strict=True)]
    assert identities_of(requests, bodies, SANTIAGO, sent=sent) == alone
    passing = identities_of(requests, bodies, SANTIAGO, sent=sent, lasting=False)
    for request, body, identity in zip(requests, bodies, passing, strict=True):
        assert identities_of([request], [body], SANTIAGO, lasting=False) == [identity]


@given(st.text("0123456789*#+", min_size=2, max_size=24))
def test_an_identity_fits_into_the_journal(number):
    """An identity is a signed number of 64 bits."""
    assert -(2**63) <= identity_of(call(destination=number), b"") < 2**63


def test_the_contacts_of_the_demo_are_what_they_are_said_to_be():
    """A thousand made-up rows: one time that Santiago's clock skips, two duplicates, three bad numbers."""
    source = CsvSource(files("ucontact_async") / "cli" / "contacts.csv")
    assert source.describe() == "contacts.csv: UTF-8 with BOM, columns separated by ';'"
    settled = plan(source.columns, OPERATIONS["schedule"], campaign="Ventas->")
    assert settled.ignored == ()
    refused, seen, lines = [], Counter(), Counter()
    for row in source:
        lines[tuple(row.fields.values())] += 1
        try:
            request = settled.request(row)
            body = endpoint_of(request).encode(request, RULES)
        except InvalidRequest as error:
            refused.append((settled.column_of(error.field), row.fields["calldate"], error.reason))
        else:
            seen[identity_of(request, body, SANTIAGO)] += 1
            assert request.calldate.year == 2027
            assert request.destination.startswith("0900")
            assert all(number.startswith("0901") for number in request.alternatives)
    assert lines.total() == 1000
    assert sorted(lines.values())[-3:] == [1, 2, 2]
    assert sorted(seen.values())[-3:] == [1, 2, 2]
    assert Counter(column for column, _, _ in refused) == {"destination": 3, "calldate": 1}
    assert next((moment, "does not exist" in why) for column, moment, why in refused if column == "calldate") == (
        "2027-09-05 00:30",
        True,
    )

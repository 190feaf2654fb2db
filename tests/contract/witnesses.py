"""Requests and answers written by hand from ``protocol.md``: client and emulator share a contract, these do not."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from status_answers import STATUS, STATUS_SAYS, SUMMARY, SUMMARY_SAYS

from ucontact_async.api.calls import AgentCall, AgentCallWithData, BlockNumber, CallWorkflow, Disposition, HangUp
from ucontact_async.api.campaigns import GetCampaignStatus, GetQueueSummary
from ucontact_async.api.dialers import DialerTask, RemoveContact, RemoveSchedule, Respool, ScheduledCall
from ucontact_async.api.lists import ListFile, ZonedListFile
from ucontact_async.api.recordings import ConvertRecording, FindRecordings, Recording, TagRecording
from ucontact_async.api.session import EndSession, GetUserToken, UserLogin
from ucontact_async.emulator import CallRecord, ContactCentre
from ucontact_async.errors import Rejected, Unauthorized, UnreadableReply

TOKEN = "YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA=="

LIST_FILE = "Ventas->;098344484;id=7:n=Ñu?>;H=0=24001234;1\nVentas->;M=2=099111222;;;9999;1001"
LIST_FILE_BASE64 = (
    "VmVudGFzLT47MDk4MzQ0NDg0O2lkPTc6bj3DkXU/PjtIPTA9MjQwMDEyMzQ7MQpWZW50YXMtPjtNPTI9MDk5MTExMjIyOzs7OTk5OTsxMDAx"
)


def local(*parts):
    """Return a time as the server's clock shows it: without a zone."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)


DONE_OR_REFUSED = ((b"1", None), (b"1\n", None), (b"0", Rejected), (b"", UnreadableReply), (b"OK", UnreadableReply))
RECORDS = (
    rb'[{"id":81,"calldate":"2027-05-05 10:00:00.0","clid":"","src":"1001","dst":"098344484","channel":"SIP/1001-1",'
    rb'"duration":95,"billsec":81,"disposition":"ANSWERED","accountcode":"Ana","uniqueid":"1.1",'
    rb'"guid":"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10","campaign":"Ventas-\u003e","direction":"out","rating":5}]'
)
RECORDS_SAY = (
    Recording(
        guid="5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10",
        calldate=local(2027, 5, 5, 10),
        source="1001",
        destination="098344484",
        campaign="Ventas->",
        agent="Ana",
        duration=95,
        billed=81,
        rating=5,
        disposition="ANSWERED",
        direction="out",
        extra={"id": 81, "clid": "", "channel": "SIP/1001-1", "uniqueid": "1.1"},
    ),
)


class Witness(NamedTuple):
    """What clients were seen to send, the wire fields in it, our request for the same, the documented answer.

    ``meanings`` are answers with what they mean, a value or an error; ``before`` is what the server must be in.
    """

    bodies: tuple[bytes, ...]
    fields: dict[str, Any]
    request: Any
    answer: bytes | None = b"1"
    argument: str | None = None
    meanings: tuple[tuple[bytes, Any], ...] = ()
    before: Callable[[ContactCentre], object] = lambda centre: None
    beside: frozenset[str] = frozenset()
    ledger: dict[str, Any] | None = None  # where the emulator's ledger shows another text than the wire had


WITNESSES = {
    "auth/getUserToken": Witness(
        (b"user=api&password=secret", b"password=secret&user=api"),
        {"user": "api", "password": "secret"},
        GetUserToken(user="api", password="secret"),
        None,
        meanings=((b'"YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA=="', TOKEN), (b"0", Unauthorized)),
    ),
    "auth/UserLogin": Witness(
        (b"user=api&password=secret", b"user=%61pi&password=secre%74"),
        {"user": "api", "password": "secret"},
        UserLogin(user="api", password="secret"),
        None,
        meanings=(
            (rb'[{"id":1},{"id":2},"YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA\u003d\u003d"]', TOKEN),
            (b"0", Unauthorized),
        ),
    ),
    "auth/EndSession": Witness(
        (
            b"user=api&token=YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA%3D%3D",
            b"user=api&token=YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA==",
        ),
        {"user": "api", "token": TOKEN},
        EndSession(user="api", token=TOKEN),
        # What it answers is not documented (1.5), so nothing is made of it.
        meanings=((b"1", None), (b"0", None), (b"", None)),
    ),
    "Dialers/Respool": Witness(
        (
            (
                b"callspool=%7B%22campaign%22%3A%22Ventas-%3E%22%2C%22destination%22%3A%22098344484%22%2C%22dialerbase%22"
                b"%3A%22Base+mayo%22%2C%22status%22%3A1%2C%22data%22%3A%22nombre%3DAna+P%C3%A9rez%3Aid%3D7%22%2C"
                b"%22alternatives%22%3A%22099123456%3A24001234%22%2C%22contact%22%3A1234%2C%22retries%22%3A0%2C"
                b"%22priority%22%3A9999%2C%22agentphone%22%3A%22%22%7D"
            ),
            (
                b"callspool=%7B%20%22campaign%22%3A%20%22Ventas-%3e%22%2C%20%22destination%22%3A%20%22098344484%22%2C%0A"
                b"%22dialerbase%22%3A%22Base%20mayo%22%2C%22status%22%3A1%2C%22data%22%3A%22nombre%3DAna%20P%c3%a9rez"
                b"%3Aid%3D7%22%2C%22alternatives%22%3A%22099123456%3A24001234%22%2C%22contact%22%3A1234%2C%22retries%22"
                b"%3A0%2C%22priority%22%3A9999%2C%22agentphone%22%3A%22%22%7D"
            ),
            'callspool={"campaign":"Ventas->","destination":"098344484","dialerbase":"Base mayo","status":1,'
            '"data":"nombre=Ana Pérez:id=7","alternatives":"099123456:24001234","contact":1234,"retries":0,'
            '"priority":9999,"agentphone":""}'.encode(),
        ),
        {
            "campaign": "Ventas->",
            "destination": "098344484",
            "dialerbase": "Base mayo",
            "status": 1,
            "data": "nombre=Ana Pérez:id=7",
            "alternatives": "099123456:24001234",
            "contact": 1234,
            "retries": 0,
            "priority": 9999,
            "agentphone": "",
        },
        Respool(
            campaign="Ventas->",
            destination="098344484",
            dialerbase="Base mayo",
            contact=1234,
            data={"nombre": "Ana Pérez", "id": "7"},
            alternatives=("099123456", "24001234"),
        ),
        argument="callspool",
        meanings=DONE_OR_REFUSED,
    ),
    "Dialers/ScheduleDialerCall": Witness(
        (
            (
                b"callschedule=%7B%22calldate%22%3A%222027-05-05+10%3A00%3A00%22%2C%22campaign%22%3A%22Ventas-%3E%22%2C"
                b"%22destination%22%3A%22098344484%22%2C%22alternatives%22%3A%22%22%2C%22agentphone%22%3A%22%22%2C"
                b"%22data%22%3A%22id%3D7%22%7D"
            ),
            (
                b"callschedule=%7B%22calldate%22%3A%222027-05-05%2010%3A00%3A00%22%2C%22campaign%22%3A%22Ventas-%3E%22%2C"
                b"%22destination%22%3A%22098344484%22%2C%22alternatives%22%3A%22%22%2C%22agentphone%22%3A%22%22%2C"
                b"%22data%22%3A%22id%3D7%22%7D"
            ),
        ),
        {
            "calldate": "2027-05-05 10:00:00",
            "campaign": "Ventas->",
            "destination": "098344484",
            "alternatives": "",
            "agentphone": "",
            "data": "id=7",
        },
        ScheduledCall(campaign="Ventas->", destination="098344484", calldate=local(2027, 5, 5, 10), data={"id": "7"}),
        argument="callschedule",
        meanings=DONE_OR_REFUSED,
    ),
    "Dialers/DialerTask": Witness(
        (
            (
                b"call=%7B%22calldate%22%3Anull%2C%22campaign%22%3A%22Ventas%3C-%22%2C%22destination%22%3A%22098344484%22"
                b"%2C%22alternatives%22%3A%22%22%2C%22agent%22%3A%22%22%2C%22data%22%3A%22%22%2C%22source%22%3A"
                b"%22source%22%2C%22bulk%22%3Afalse%2C%22automatic%22%3Atrue%7D"
            ),
            (
                b'call={"calldate":null,"campaign":"Ventas<-","destination":"098344484","alternatives":"","agent":"",'
                b'"data":"","source":"source","bulk":false,"automatic":true}'
            ),
        ),
        {
            "calldate": None,
            "campaign": "Ventas<-",
            "destination": "098344484",
            "alternatives": "",
            "agent": "",
            "data": "",
            "source": "source",
            "bulk": False,
            "automatic": True,
        },
        DialerTask.urgent(campaign="Ventas<-", destination="098344484"),
        argument="call",
        meanings=DONE_OR_REFUSED,
    ),
    "Dialers/RemoveContact": Witness(
        (b"campaign=Ventas-%3E&number=098344484", b"campaign=Ventas->&number=098344484"),
        {"campaign": "Ventas->", "number": "098344484"},
        RemoveContact(campaign="Ventas->", destination="098344484"),
        meanings=DONE_OR_REFUSED,
    ),
    "Dialers/RemoveScheduleDialerCall": Witness(
        (
            b"campaign=Ventas-%3E&destination=098344484&from=2027-05-05%2010%3A00%3A00&to=2027-05-05+18%3A00%3A00",
            b"campaign=Ventas->&destination=098344484&from=2027-05-05 10:00:00&to=2027-05-05 18:00:00",
        ),
        {
            "campaign": "Ventas->",
            "destination": "098344484",
            "from": "2027-05-05 10:00:00",
            "to": "2027-05-05 18:00:00",
        },
        RemoveSchedule(
            campaign="Ventas->",
            destination="098344484",
            since=local(2027, 5, 5, 10),
            until=local(2027, 5, 5, 18),
        ),
        meanings=DONE_OR_REFUSED,
    ),
    "Agents/AgentCall": Witness(
        (
            (
                b"callerid=24001111&agent=Ana+P%C3%A9rez&phone=1001&tech=SIP&context=agentes&outqueue=Ventas-%3E"
                b"&destination=098344484"
            ),
            (
                b"destination=098344484&outqueue=Ventas-%3e&context=agentes&tech=SIP&phone=1001&agent=Ana%20P%c3%a9rez"
                b"&callerid=24001111"
            ),
        ),
        {
            "callerid": "24001111",
            "agent": "Ana Pérez",
            "phone": "1001",
            "tech": "SIP",
            "context": "agentes",
            "outqueue": "Ventas->",
            "destination": "098344484",
        },
        AgentCall(agent="Ana Pérez", phone="1001", destination="098344484", outqueue="Ventas->", callerid="24001111"),
        None,
        meanings=(
            (b"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10", "5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10"),
            (b"5F3A1C9E-7B24-4D0F-9A61-2F8E5D3C7B10\r\n", "5F3A1C9E-7B24-4D0F-9A61-2F8E5D3C7B10"),
            (b"0", Rejected),
            (b"1", UnreadableReply),
            (b'"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10"', UnreadableReply),
            (b"5f3a1c9e7b244d0f9a612f8e5d3c7b10", UnreadableReply),
        ),
    ),
    "Agents/AgentCallwithData": Witness(
        (
            (
                b"callerid=&agent=Ana&phone=1001&tech=SIP&context=agents&outqueue=Ventas-%3E&destination=098344484"
                b"&data=%7B%22id%22%3A%227%22%7D"
            ),
            (
                b"callerid=&agent=Ana&phone=1001&tech=SIP&context=agents&outqueue=Ventas->&destination=098344484"
                b'&data={"id":"7"}'
            ),
        ),
        {
            "callerid": "",
            "agent": "Ana",
            "phone": "1001",
            "tech": "SIP",
            "context": "agents",
            "outqueue": "Ventas->",
            "destination": "098344484",
            "data": '{"id":"7"}',
        },
        AgentCallWithData(
            agent="Ana",
            phone="1001",
            destination="098344484",
            outqueue="Ventas->",
            context="agents",
            data='{"id":"7"}',
        ),
        None,
        meanings=(
            (b"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10\n", "5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10"),
            (b"0", Rejected),
        ),
    ),
    "Agents/HungupPhone": Witness(
        (b"phone=1001", b"phone=%31%30%30%31"),
        {"phone": "1001"},
        HangUp(phone="1001"),
        meanings=((b"1", None), (b"0", Rejected), (b"OK", UnreadableReply)),
        before=lambda centre: centre.switchboard.begin(
            CallRecord(campaign="Ventas->", destination="098344484", phone="1001")
        ),
    ),
    "api/DispositionCall": Witness(
        (
            (
                b"campaign=Ventas-%3E&agent=Ana&callerid=098344484&guid=5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10&l1=Contacto"
                b"&l2=Interesado%2Fa&l3=&d1=&d2=plan+2&comment=llama%20el%20lunes%3A%20%2250%25%22"
                b"&schedule=2027-05-05%2010%3A00%3A00&camptoreschedule=Agenda-%3E&tag="
            ),
            (
                b'tag=&camptoreschedule=Agenda->&schedule=2027-05-05 10:00:00&comment=llama el lunes: "50%25"'
                b"&d2=plan%202&d1=&l3=&l2=Interesado/a&l1=Contacto&guid=5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10"
                b"&callerid=098344484&agent=Ana&campaign=Ventas->"
            ),
        ),
        {
            "campaign": "Ventas->",
            "agent": "Ana",
            "callerid": "098344484",
            "guid": "5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10",
            "l1": "Contacto",
            "l2": "Interesado/a",
            "l3": "",
            "d1": "",
            "d2": "plan 2",
            "comment": 'llama el lunes: "50%"',
            "schedule": "2027-05-05 10:00:00",
            "camptoreschedule": "Agenda->",
            "tag": "",
        },
        Disposition(
            campaign="Ventas->",
            agent="Ana",
            callerid="098344484",
            guid="5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10",
            level1="Contacto",
            level2="Interesado/a",
            data2="plan 2",
            comment='llama el lunes: "50%"',
            schedule=local(2027, 5, 5, 10),
            reschedule_campaign="Agenda->",
        ),
        meanings=((b"1\n", None), (b"0", Rejected)),
    ),
    "admin/CallWorkflow": Witness(
        (
            b"context=entrantes&extension=encuesta&jsonparams=%7B%22id%22%3A%227%22%2C%22vip%22%3Atrue%7D",
            b'jsonparams={"id":"7","vip":true}&extension=encuesta&context=entrantes',
        ),
        {"context": "entrantes", "extension": "encuesta", "jsonparams": '{"id":"7","vip":true}'},
        CallWorkflow(context="entrantes", extension="encuesta", params={"id": "7", "vip": True}),
        b"OK",
        meanings=((b"OK\n", None), (b"0", Rejected), (b"1", UnreadableReply), (b"ok", UnreadableReply)),
    ),
    "admin/addblack": Witness(
        (
            (
                b"black=%7B%22phone%22%3A%22098344484%22%2C%22campaign%22%3A%22*%22%2C%22username%22%3A%22Ana%22%2C"
                b"%22company%22%3A%22ACME+S.A.%22%2C%22job_title%22%3A%22%22%2C%22name%22%3A%22Jos%C3%A9%22%7D"
            ),
            (
                'black={ "name":"José","job_title":"","company":"ACME S.A.","username":"Ana","campaign":"*",'
                '"phone":"098344484" }'
            ).encode(),
        ),
        {
            "phone": "098344484",
            "campaign": "*",
            "username": "Ana",
            "company": "ACME S.A.",
            "job_title": "",
            "name": "José",
        },
        BlockNumber(phone="098344484", username="Ana", company="ACME S.A.", name="José"),
        argument="black",
        meanings=((b"1", None), (b"0", Rejected)),
    ),
    # Their answers depend on the moment; more of them: test_status_answers.py.
    "Supervisor/queuesummary": Witness(
        (b"",), {}, GetQueueSummary(), None, meanings=((SUMMARY, SUMMARY_SAYS), (b"0", Rejected))
    ),
    "Supervisor/campaignstatus": Witness(
        (b"queue=Power%3C-", b"queue=Power<-", b"queue=%50ower%3c-"),
        {"queue": "Power<-"},
        GetCampaignStatus(queue="Power<-"),
        None,
        meanings=((STATUS, STATUS_SAYS), (b"{}", {}), (b"0", Rejected)),
    ),
    "Cdr/getrecords": Witness(
        (
            (
                b"lastrow=50&searchLimit=50&filter=%7B%22calldatei%22%3A%222027-05-05+00%3A00%3A00%22%2C%22calldatef%22%3A"
                b"%222027-05-05+23%3A59%3A59%22%2C%22agent%22%3A%22%22%2C%22campaign%22%3A%22Ventas-%3E%22%2C%22source%22"
                b"%3A%22%22%2C%22destination%22%3A%22098344484%22%2C%22data%22%3A%22buena+venta%22%2C%22range%22%3A%22%22"
                b"%2C%22rating%22%3A%225%22%2C%22mindur%22%3A%2230%22%2C%22exclude%22%3A%22%22%2C%22type%22%3A%22record%22"
                b"%2C%22cont%22%3A%222%22%7D&Random=1"
            ),
            (
                b'Random=1&filter={"calldatei":"2027-05-05 00:00:00","calldatef":"2027-05-05 23:59:59","agent":"",'
                b'"campaign":"Ventas->","source":"","destination":"098344484","data":"buena venta","range":"",'
                b'"rating":"5","mindur":"30","exclude":"","type":"record","cont":"2"}&lastrow=50&searchLimit=50'
            ),
        ),
        {
            "lastrow": "50",
            "searchLimit": "50",
            "Random": "1",
            "calldatei": "2027-05-05 00:00:00",
            "calldatef": "2027-05-05 23:59:59",
            "agent": "",
            "campaign": "Ventas->",
            "source": "",
            "destination": "098344484",
            "data": "buena venta",
            "range": "",
            "rating": "5",
            "mindur": "30",
            "exclude": "",
            "type": "record",
            "cont": "2",
        },
        FindRecordings(
            since=local(2027, 5, 5),
            until=local(2027, 5, 5, 23, 59, 59),
            campaign="Ventas->",
            destination="098344484",
            tag="buena venta",
            rating="5",
            min_duration="30",
            at_least="2",
            after=50,
        ),
        b"[]",
        argument="filter",
        beside=frozenset({"lastrow", "searchLimit", "Random"}),
        # The columns of 3.2; nothing found may be an empty list or 0, and so 0 is no refusal here.
        meanings=(
            (RECORDS, RECORDS_SAY),
            (b"[]", ()),
            (b"0", ()),
            (b"1", UnreadableReply),
            (b"OK", UnreadableReply),
            (b"", UnreadableReply),
        ),
    ),
    "Supervisor/convert": Witness(
        (
            b"guid=123e4567-e89b-42d3-a456-426614174000&folder=20270505",
            b"folder=20270505&guid=123e4567%2De89b%2D42d3%2Da456%2D426614174000",
        ),
        {"guid": "123e4567-e89b-42d3-a456-426614174000", "folder": "20270505"},
        ConvertRecording(guid="123e4567-e89b-42d3-a456-426614174000", folder="20270505"),
        meanings=DONE_OR_REFUSED,
    ),
    "Agents/TagRecord": Witness(
        (
            b"phone=098344484&guid=123e4567-e89b-42d3-a456-426614174000&data=buena+venta%3A+s%C3%AD",
            b"phone=098344484&guid=123e4567-e89b-42d3-a456-426614174000&data=buena%20venta:%20s%c3%ad",
        ),
        {"phone": "098344484", "guid": "123e4567-e89b-42d3-a456-426614174000", "data": "buena venta: sí"},
        TagRecording(phone="098344484", guid="123e4567-e89b-42d3-a456-426614174000", data="buena venta: sí"),
        b"",
        meanings=((b"", None), (b"\n", None), (b"0", Rejected), (b"1", UnreadableReply), (b"OK", UnreadableReply)),
    ),
    "Dialers/uploadbase": Witness(
        (
            (
                b"filename=mayo.csv&fileb64=VmVudGFzLT47MDk4MzQ0NDg0O2lkPTc6bj3DkXU%2FPjtIPTA9MjQwMDEyMzQ7MQpWZW50YXMtPjtNPTI9MDk5"
                b"MTExMjIyOzs7OTk5OTsxMDAx&campaign=Ventas-%3E&cant=2&username=api"
            ),
            (
                b"username=api&cant=2&campaign=Ventas->&filename=mayo%2ecsv&fileb64=VmVudGFzLT47MDk4MzQ0NDg0O2lkPTc6bj3DkXU"
                b"/PjtIPTA9MjQwMDEyMzQ7MQpWZW50YXMtPjtNPTI9MDk5MTExMjIyOzs7OTk5OTsxMDAx"
            ),
        ),
        {
            "filename": "mayo.csv",
            "fileb64": LIST_FILE_BASE64,
            "campaign": "Ventas->",
            "cant": "2",
            "username": "api",
        },
        ListFile(campaign="Ventas->", name="mayo.csv", content=LIST_FILE.encode(), rows=2, username="api"),
        meanings=DONE_OR_REFUSED,
        ledger={"fileb64": LIST_FILE},
    ),
    "Dialers/uploadbasewithtimezone": Witness(
        (
            (
                b"filename=mayo.csv&fileb64=VmVudGFzLT47MDk4MzQ0NDg0O2lkPTc6bj3DkXU%2fPjtIPTA9MjQwMDEyMzQ7MQpWZW50YXMtPjtNPTI9MDk5"
                b"MTExMjIyOzs7OTk5OTsxMDAx&campaign=Ventas-%3E&cant=2&username=api&timezone=America%2FMontevideo"
            ),
        ),
        {
            "filename": "mayo.csv",
            "fileb64": LIST_FILE_BASE64,
            "campaign": "Ventas->",
            "cant": "2",
            "username": "api",
            "timezone": "America/Montevideo",
        },
        ZonedListFile(
            campaign="Ventas->",
            name="mayo.csv",
            content=LIST_FILE.encode(),
            rows=2,
            username="api",
            timezone="America/Montevideo",
        ),
        meanings=DONE_OR_REFUSED,
        ledger={"fileb64": LIST_FILE},
    ),
}

LOGIN_ANSWERS = {
    "bare": b"YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA==",
    "bare, line break": b"YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA==\n",
    "quoted": b'"YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA=="',
    "quoted, escaped": rb'"YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA\u003d\u003d"',
    "third of a list": rb'[{"id":1},{"id":2},"YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA\u003d\u003d"]',
    "object": rb'{"id":7,"md5secret":"YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA\u003d\u003d","port":1}',
    "object, last of a list": (
        rb'[{"id":1},{"id":2},{"name":"api","md5secret":"YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA'
        rb'\u003d\u003d","limite":0.0}]'
    ),
}

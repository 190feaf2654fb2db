"""Requests and answers written by hand from ``protocol.md``: client and emulator share a contract, these do not."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from ucontact_async.api.dialers import DialerTask, RemoveContact, RemoveSchedule, Respool, ScheduledCall
from ucontact_async.api.session import EndSession, GetUserToken, UserLogin

TOKEN = "YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA=="


def local(*parts):
    """Return a time as the server's clock shows it: without a zone."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)


class Witness(NamedTuple):
    """What clients were seen to send, the wire fields in it, our request for the same, the documented answer."""

    bodies: tuple[bytes, ...]
    fields: dict[str, Any]
    request: Any
    answer: bytes | None = b"1"
    argument: str | None = None


WITNESSES = {
    "auth/getUserToken": Witness(
        (b"user=api&password=secret", b"password=secret&user=api"),
        {"user": "api", "password": "secret"},
        GetUserToken(user="api", password="secret"),
        None,
    ),
    "auth/UserLogin": Witness(
        (b"user=api&password=secret", b"user=%61pi&password=secre%74"),
        {"user": "api", "password": "secret"},
        UserLogin(user="api", password="secret"),
        None,
    ),
    "auth/EndSession": Witness(
        (
            b"user=api&token=YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA%3D%3D",
            b"user=api&token=YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA==",
        ),
        {"user": "api", "token": TOKEN},
        EndSession(user="api", token=TOKEN),
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
    ),
    "Dialers/RemoveContact": Witness(
        (b"campaign=Ventas-%3E&number=098344484", b"campaign=Ventas->&number=098344484"),
        {"campaign": "Ventas->", "number": "098344484"},
        RemoveContact(campaign="Ventas->", destination="098344484"),
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

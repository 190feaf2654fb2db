"""The vendor's section "Calls": wire names and values by hand, deadlines, safety, and what is hidden."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl

import msgspec
import pytest
from sound_requests import RULES

from ucontact_async.api.calls import (
    AgentCall,
    AgentCallWithData,
    BlockNumber,
    Calls,
    CallWorkflow,
    Disposition,
    HangUp,
)
from ucontact_async.endpoint import Safety
from ucontact_async.errors import InvalidRequest
from ucontact_async.text import Rules
from ucontact_async.wire import Reply, masked

GUID = "5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10"
CALL = {"agent": "Ana", "phone": "1001", "destination": "098344484", "outqueue": "Ventas->"}
DISPOSITION = {
    "campaign": "Ventas->",
    "agent": "Ana",
    "callerid": "098344484",
    "guid": GUID,
    "level1": "Contacto",
}
# The object of the page (protocol.md 2.4), as JavaScript writes it.
BLACK = (
    '{"phone":"098344484","campaign":"*","username":"Ana","company":"ACME","job_title":"Gerente","name":"Jos\\u00e9"}'
)


def sent(endpoint, request, rules=RULES):
    """Return the fields that go out for ``request``, the JSON argument opened."""
    fields = dict(parse_qsl(endpoint.encode(request, rules).decode("ascii"), keep_blank_values=True))
    return fields if endpoint.codec.argument is None else msgspec.json.decode(fields[endpoint.codec.argument])


def refused(build):
    """Return the error that ``build`` raises."""
    with pytest.raises(InvalidRequest) as caught:
        build()
    return caught.value


class TestWire:
    """What goes out, by the vendor's names (protocol.md 2.1 to 2.4, section 8)."""

    def test_dial(self):
        """Seven fields, the technology SIP and the context agentes unless said otherwise."""
        assert sent(Calls.dial, AgentCall(**CALL)) == {
            "callerid": "",
            "agent": "Ana",
            "phone": "1001",
            "tech": "SIP",
            "context": "agentes",
            "outqueue": "Ventas->",
            "destination": "098344484",
        }
        other = sent(Calls.dial, AgentCall(**CALL, callerid="24001111", tech="PJSIP", context="agents"))
        assert (other["callerid"], other["tech"], other["context"]) == ("24001111", "PJSIP", "agents")

    def test_dial_with_data(self):
        """The same seven, and the data as they are."""
        data = '{"id": "7", "nota": "ñ & 50%"}'
        fields = sent(Calls.dial_with_data, AgentCallWithData(**CALL, data=data))
        assert fields == sent(Calls.dial, AgentCall(**CALL)) | {"data": data}

    def test_hangup(self):
        """One field."""
        assert sent(Calls.hangup, HangUp(phone="1001")) == {"phone": "1001"}

    def test_disposition(self):
        """All thirteen fields, empty where nothing is said, without a zone if there is no date."""
        fields = {"campaign": "Ventas->", "agent": "Ana", "callerid": "098344484", "guid": GUID, "l1": "Contacto"}
        empty = dict.fromkeys(["l2", "l3", "d1", "d2", "comment", "schedule", "camptoreschedule", "tag"], "")
        assert sent(Calls.disposition, Disposition(**DISPOSITION), Rules()) == fields | empty

    def test_a_whole_disposition(self):
        """Each of our names has its wire name; an aware date goes out in the server's time."""
        whole = Disposition(
            **DISPOSITION,
            level2="Interesado",
            level3="Lunes",
            data1="uno",
            data2="dos",
            comment="llama: el lunes; a=b",
            schedule=datetime(2027, 5, 5, 13, tzinfo=UTC),
            reschedule_campaign="Agenda->",
            tag="vip",
        )
        assert sent(Calls.disposition, whole) == {
            "campaign": "Ventas->",
            "agent": "Ana",
            "callerid": "098344484",
            "guid": GUID,
            "l1": "Contacto",
            "l2": "Interesado",
            "l3": "Lunes",
            "d1": "uno",
            "d2": "dos",
            "comment": "llama: el lunes; a=b",
            "schedule": "2027-05-05 10:00:00",
            "camptoreschedule": "Agenda->",
            "tag": "vip",
        }

    def test_workflow(self):
        """The parameters are one field that holds the text of a JSON object, an empty one if there are none."""
        workflow = CallWorkflow(context="entrantes", extension="700", params={"id": 7, "nota": 'a"b'})
        fields = {"context": "entrantes", "extension": "700"}
        assert sent(Calls.workflow, workflow) == fields | {"jsonparams": '{"id":7,"nota":"a\\"b"}'}
        assert sent(Calls.workflow, CallWorkflow(**fields)) == fields | {"jsonparams": "{}"}

    def test_block(self):
        """Six keys, all campaigns unless one is named."""
        assert sent(Calls.block, BlockNumber(phone="098344484")) == {
            "phone": "098344484",
            "campaign": "*",
            "username": "",
            "company": "",
            "job_title": "",
            "name": "",
        }
        assert sent(Calls.block, BlockNumber(phone="098344484", campaign="Ventas->"))["campaign"] == "Ventas->"

    def test_the_object_of_the_page_and_back(self):
        """The page's blacklist object is read as a request that is written as the same object."""
        request = Calls.block.codec.decode({"black": BLACK}, RULES)
        assert request == BlockNumber(
            phone="098344484", username="Ana", company="ACME", job_title="Gerente", name="José"
        )
        assert sent(Calls.block, request) == msgspec.json.decode(BLACK)
        assert list(sent(Calls.block, request)) == list(msgspec.json.decode(BLACK))

    def test_where_they_go(self):
        """Paths, replies, safety and deadlines as the page and the design state them."""
        stated = {
            name: (endpoint.path, endpoint.reply, endpoint.safety, endpoint.send_by(None))
            for name, endpoint in Calls.endpoints().items()
        }
        assert stated == {
            "dial": ("Agents/AgentCall", Reply.GUID, Safety.ONCE, 5.0),
            "dial_with_data": ("Agents/AgentCallwithData", Reply.GUID, Safety.ONCE, 5.0),
            "hangup": ("Agents/HungupPhone", Reply.DONE, Safety.ONCE, 3.0),
            "disposition": ("api/DispositionCall", Reply.DONE, Safety.ONCE, None),
            "workflow": ("admin/CallWorkflow", Reply.OK, Safety.ONCE, None),
            "block": ("admin/addblack", Reply.DONE, Safety.REPEATABLE, None),
        }


class TestRules:
    """What is refused before anything is sent."""

    @pytest.mark.parametrize("field", ["destination", "phone", "callerid", "tech", "context", "agent"])
    @pytest.mark.parametrize("leg", ["&SIP/2000", "/n", ",30", "\r\nAction: Originate", "|x"])
    def test_what_could_add_a_call_leg(self, field, leg):
        """No part of what is dialled can name a second channel (reliability.md S6)."""
        fields = CALL | {"callerid": "24001111"}
        wrong = AgentCall(**fields | {field: fields.get(field, "SIP") + leg})
        assert refused(lambda: sent(Calls.dial, wrong)).field == field

    @pytest.mark.parametrize("data", ["a\nb", "a\r\nVariable: x=y", "\x00"])
    def test_data_is_one_line(self, data):
        """A line break in the data could become a header of the telephone exchange."""
        assert refused(lambda: sent(Calls.dial_with_data, AgentCallWithData(**CALL, data=data))).field == "data"

    @pytest.mark.parametrize("outqueue", ["", "Ventas", "*"])
    def test_a_call_is_accounted_to_a_campaign(self, outqueue):
        """With its arrow."""
        assert refused(lambda: sent(Calls.dial, AgentCall(**CALL | {"outqueue": outqueue}))).field == "outqueue"

    def test_a_disposition_of_a_withheld_number(self):
        """The number may be empty, the call and the first level may not be left out."""
        assert sent(Calls.disposition, Disposition(**DISPOSITION | {"callerid": ""}))["callerid"] == ""
        assert refused(lambda: sent(Calls.disposition, Disposition(**DISPOSITION | {"guid": ""}))).field == "guid"
        with pytest.raises(TypeError, match="level1"):
            Disposition(**{name: value for name, value in DISPOSITION.items() if name != "level1"})

    def test_a_date_needs_the_zone(self):
        """As everywhere."""
        wrong = Disposition(**DISPOSITION, schedule=datetime(2027, 5, 5))
        assert refused(lambda: sent(Calls.disposition, wrong, Rules())).field == "schedule"

    def test_what_is_blocked_is_a_number(self):
        """And for a campaign or all of them; one without an arrow is one of voice broadcasts."""
        assert refused(lambda: sent(Calls.block, BlockNumber(phone="*67 1234"))).field == "phone"
        assert refused(lambda: sent(Calls.block, BlockNumber(phone="1001", campaign=""))).field == "campaign"
        assert sent(Calls.block, BlockNumber(phone="1001", campaign="Encuesta"))["campaign"] == "Encuesta"

    def test_parameters_are_copied(self):
        """What happens to them afterwards is not sent."""
        params = {"ids": ["7"]}
        request = CallWorkflow(context="a", extension="b", params=params)
        params["ids"].append("8")
        assert request.params == {"ids": ["7"]}


CANARIES = [
    AgentCall(agent="Ana", phone="7771001", destination="098344484", outqueue="Ventas->", callerid="24004484"),
    AgentCallWithData(**CALL, data="canary"),
    HangUp(phone="0984484"),
    Disposition(**DISPOSITION, data1="canary", data2="canary", comment="canary"),
    CallWorkflow(context="a", extension="b", params={"name": "canary", "inner": {"name": "canary"}}),
    BlockNumber(phone="098344484", company="canary", job_title="canary", name="canary"),
]


@pytest.mark.parametrize("request_", CANARIES, ids=lambda request: type(request).__name__)
def test_numbers_and_notes_are_hidden(request_):
    """No last four digits and nothing said of a customer is in a repr; its mask can be encoded."""
    (endpoint,) = (found for found in Calls.endpoints().values() if found.request_type is type(request_))
    body = endpoint.encode(type(request_)(**masked(request_)), RULES).decode()
    for shown in (repr(request_), repr(list(request_.__rich_repr__())), body):
        assert not any(secret in shown for secret in ("4484", "1001", "canary"))

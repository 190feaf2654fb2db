"""The OpenAPI document as whoever imports it uses it: examples are sent as it says, answers are what it says."""

import json
from base64 import b64decode
from urllib.parse import urlencode

import aiohttp
import jsonschema
import pytest
from status_answers import STATUS_TYPES, SUMMARY_KEYS

from ucontact_async.contract import openapi_document
from ucontact_async.emulator import CallRecord

FORM = "application/x-www-form-urlencoded"
PATHS = openapi_document()["paths"]


async def send(http, document, path, form, token):
    """Send a form as the document says, by the standard library's encoding."""
    operation = document["paths"][path]["post"]
    encodings = operation.get("requestBody", {}).get("content", {}).get(FORM, {}).get("encoding", {})
    plain = {
        name: json.dumps(value) if encodings.get(name, {}).get("contentType") == "application/json" else value
        for name, value in form.items()
    }
    headers = {"Content-Type": FORM}
    if operation.get("security") != []:
        (scheme,) = document["components"]["securitySchemes"].values()
        headers[scheme["name"]] = f"Basic {token}"
    async with http.post(document["servers"][0]["url"] + path, data=urlencode(plain), headers=headers) as response:
        return response.status, (await response.read()).decode()


def examples_of(document, path):
    """Return the examples of a request; one empty form if it takes none."""
    body = document["paths"][path]["post"].get("requestBody")
    return [example["value"] for example in body["content"][FORM]["examples"].values()] if body else [{}]


def flat(form):
    """Return the wire fields of a form as the ledger shows them: the JSON argument and the file opened."""
    fields = {}
    for name, value in form.items():
        fields |= value if isinstance(value, dict) else {name: str(value)}
    return fields | {name: b64decode(value).decode() for name, value in fields.items() if name == "fileb64"}


@pytest.mark.parametrize("path", PATHS)
async def test_an_example_gets_an_answer_of_the_document(emulator, path):
    """Sent by a client that is not ours, each example is accepted, answered as published, and done as written."""
    document = openapi_document(emulator.url)
    token = emulator.state.sessions.open("api")
    emulator.state.switchboard.begin(CallRecord(campaign="Ventas->", destination="099123456", phone="1001"))
    async with aiohttp.ClientSession() as http:
        answers = [await send(http, document, path, form, token) for form in examples_of(document, path)]
    ((media, content),) = document["paths"][path]["post"]["responses"]["200"]["content"].items()
    for status, body in answers:
        assert status == 200
        said = json.loads(body) if media == "application/json" else body
        assert said not in ("0", 0)
        jsonschema.validate(said, content["schema"] | {"components": document["components"]})
    if document["paths"][path]["post"]["x-safety"] != "read" and not path.startswith("/auth/"):
        assert [entry.fields for entry in emulator.ledger] == [flat(form) for form in examples_of(document, path)]


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/auth/EndSession"])
async def test_a_refusal_is_in_the_document(emulator, path):
    """The answer 0 is published, and what is neither success nor refusal does not keep the schema."""
    document = openapi_document(emulator.url)
    ((media, content),) = document["paths"][path]["post"]["responses"]["200"]["content"].items()
    judge = jsonschema.Draft202012Validator(content["schema"] | {"components": document["components"]})
    refusal, wrong = (0, 7) if media == "application/json" else ("0", "<html></html>")
    assert judge.is_valid(refusal)
    assert not judge.is_valid(wrong)
    assert content["examples"]["refusal"]["value"] == refusal
    assert judge.is_valid(content["examples"]["success"]["value"])


def test_the_answers_of_the_live_endpoints_have_the_keys_of_the_page():
    """Key by key and type by type, queues and campaigns are published as the page prints them."""
    document = openapi_document()
    named = document["components"]["schemas"]
    shapes = {
        path: document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"][0]
        for path in ("/Supervisor/queuesummary", "/Supervisor/campaignstatus")
    }
    assert shapes["/Supervisor/queuesummary"]["items"] == {"$ref": "#/components/schemas/QueueElement"}
    assert shapes["/Supervisor/campaignstatus"]["additionalProperties"] == {
        "$ref": "#/components/schemas/CampaignObject"
    }
    assert set(named["QueueElement"]["properties"]) == SUMMARY_KEYS
    types = {str: "string", int: "integer"}
    campaign = {name: schema["type"] for name, schema in named["CampaignObject"]["properties"].items()}
    assert campaign == {name: types[type_] for name, type_ in STATUS_TYPES.items()}


@pytest.mark.parametrize("path", [path for path in PATHS if not path.startswith("/auth/")])
async def test_without_a_token_it_is_the_documents_401(emulator, path):
    """Where the document asks for a token, one that is not valid gets the published status and does nothing."""
    document = openapi_document(emulator.url)
    async with aiohttp.ClientSession() as http:
        status, _ = await send(http, document, path, examples_of(document, path)[0], "b25jZTpub3QtYS10b2tlbg==")
    assert str(status) in document["paths"][path]["post"]["responses"]
    assert status == 401
    assert list(emulator.ledger) == []

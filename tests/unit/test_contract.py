"""The published documents: sound by others' reading, and saying of every endpoint what its declaration says."""

import json
import re
from urllib.parse import parse_qsl

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_requests import RULES, sound

from ucontact_async.api import ENDPOINTS
from ucontact_async.contract import openapi_document, postman_collection
from ucontact_async.contract.forms import example_of, parts_of, variants_of
from ucontact_async.contract.vocabulary import VARIANTS, WORDS
from ucontact_async.endpoint import Safety
from ucontact_async.errors import SettingsError
from ucontact_async.text import Rules
from ucontact_async.wire import encode_form

OPENAPI = openapi_document()
POSTMAN = postman_collection()
ITEMS = [item for folder in POSTMAN["item"] for item in folder["item"]]
EVERY = pytest.mark.parametrize("path", ENDPOINTS)
FORM = "application/x-www-form-urlencoded"


def schema_of(path):
    """Return the schema of an endpoint's form, with all it refers to."""
    body = OPENAPI["paths"][f"/{path}"]["post"].get("requestBody")
    schema = body["content"][FORM]["schema"] if body else {"type": "object", "maxProperties": 0}
    return schema | {"components": OPENAPI["components"]}


def validator(schema):
    """Return a judge of values that is not ours."""
    return jsonschema.Draft202012Validator(schema)


def typed(path, form):
    """Return a form as its schema sees it: the JSON argument opened, whole numbers as numbers."""
    numbers = {part.name for part in parts_of(ENDPOINTS[path]) if isinstance(part.word.example, int)}
    argument = ENDPOINTS[path].codec.argument
    return {
        name: json.loads(value) if name == argument or name in numbers else value
        for name, value in parse_qsl(form, keep_blank_values=True)
    }


def test_the_document_is_openapi():
    """A validator that is not ours takes the document for OpenAPI 3.1."""
    reason = "not installed: python -m pip install openapi-spec-validator"
    pytest.importorskip("openapi_spec_validator", reason=reason).validate(json.loads(json.dumps(OPENAPI)))
    assert OPENAPI["openapi"] == "3.1.0"


def test_both_documents_hold_every_endpoint():
    """Nothing is missing and nothing is invented, by path, safety and whether a token is needed."""
    assert set(OPENAPI["paths"]) == {f"/{path}" for path in ENDPOINTS}
    assert {item["name"].partition(":")[0] for item in ITEMS} == set(ENDPOINTS)
    for item in ITEMS:
        endpoint = ENDPOINTS[item["name"].partition(":")[0]]
        operation = OPENAPI["paths"][f"/{endpoint.path}"]["post"]
        assert operation["x-safety"] == endpoint.safety.value
        assert (operation.get("security") == []) is not endpoint.authenticated
        assert ("auth" in item["request"]) is not endpoint.authenticated
        assert f"Safety `{endpoint.safety.value}`" in item["request"]["description"]
        assert all(path in item["request"]["description"] for path in endpoint.also)
        assert item["request"]["url"]["raw"] == f"{{{{baseUrl}}}}/Integra/resources/{endpoint.path}"
        assert item["request"]["method"] == "POST"
    operations = [operation["post"]["operationId"] for operation in OPENAPI["paths"].values()]
    assert len(set(operations)) == len(ENDPOINTS)


@EVERY
@settings(max_examples=10)
@given(data=st.data())
def test_what_we_send_is_what_is_published(path, data):
    """Whatever our encoder writes for a sound request keeps the published schema."""
    request = data.draw(sound(ENDPOINTS[path].request_type))
    form = ENDPOINTS[path].encode(request, RULES).decode()
    validator(schema_of(path)).validate(typed(path, form))


@pytest.mark.parametrize(
    ("path", "field", "wrong"),
    [
        ("Dialers/RemoveContact", "number", "099;1"),
        ("Dialers/RemoveContact", "campaign", "Ventas"),
        ("Dialers/RemoveScheduleDialerCall", "from", "2099-05-05"),
        ("Dialers/Respool", "priority", 1),
        ("Dialers/Respool", "status", 2),
        ("Dialers/Respool", "alternatives", "099::098"),
        ("Dialers/DialerTask", "bulk", "true"),
        ("Dialers/DialerTask", "calldate", ""),
        ("Supervisor/convert", "guid", "../x"),
        ("Cdr/getrecords", "Random", 2),
    ],
)
def test_the_schema_refuses_what_we_refuse(path, field, wrong):
    """A wrong value, or a field that is missing, does not keep the published schema."""
    judge = validator(schema_of(path))
    form = example_of(ENDPOINTS[path], {})
    assert judge.is_valid(form)
    inside = form if field in form else form[ENDPOINTS[path].codec.argument]
    inside[field] = wrong
    assert not judge.is_valid(form)
    del inside[field]
    assert not judge.is_valid(form)


@EVERY
def test_the_examples_are_sound_requests(path):
    """Each example is read as a request of ours, and that keeps all rules and says the same."""
    endpoint = ENDPOINTS[path]
    for variant in variants_of(endpoint).values():
        form = example_of(endpoint, variant)
        written = {name: json.dumps(value) if isinstance(value, dict) else str(value) for name, value in form.items()}
        request = endpoint.codec.decode(written, Rules(RULES.zone))
        assert typed(path, endpoint.encode(request, RULES).decode()) == typed(path, encode_form(written).decode())


def test_nothing_of_our_own_papers_is_published():
    """No reference to a file, role of our docstrings or Python name of a field stands in what others read."""
    text = json.dumps([OPENAPI, POSTMAN])
    for ours in ("protocol.md", "reliability.md", "design.md", "``", ":class:", ":meth:", "`since`", "`until`", "None"):
        assert ours not in text
    for operation in OPENAPI["paths"].values():
        assert re.fullmatch(r"[A-Z][^\"]{8,100}[^.:]", operation["post"]["summary"])


def test_every_word_is_used():
    """A word that no field has, or a use of an endpoint that is none, is a misspelt one."""
    names = {
        name for path in ENDPOINTS for part in parts_of(ENDPOINTS[path]) for name in (part.name, f"{path}:{part.name}")
    }
    assert set(WORDS) <= names
    assert set(VARIANTS) <= set(ENDPOINTS)
    for path, variants in VARIANTS.items():
        names = {part.name for part in parts_of(ENDPOINTS[path])}
        assert all(set(variant) <= names for variant in variants.values())


def test_a_collection_logs_in_first_and_out_last():
    """Run from top to bottom, the token is there when it is needed and ended at the end."""
    needs_token = [item["name"] for item in ITEMS if "auth" not in item["request"]]
    order = [item["name"] for item in ITEMS]
    assert order == ["auth/getUserToken", "auth/UserLogin", *needs_token, "auth/EndSession"]
    assert needs_token
    for item in ITEMS[:2]:
        (test,) = [event for event in item["event"] if event["listen"] == "test"]
        assert any('pm.collectionVariables.set("token"' in line for line in test["script"]["exec"])


def test_a_collection_holds_no_secret_and_every_variable_it_uses():
    """User, password and token are empty, and no name in double braces is left undefined."""
    values = {variable["key"]: variable["value"] for variable in POSTMAN["variable"]}
    assert {values.pop(name) for name in ("user", "password", "token")} == {""}
    assert all(values.values())
    used = set(re.findall(r"\{\{(\w+)\}\}", json.dumps(POSTMAN)))
    assert used == {*values, "user", "password", "token"} - {"allowChanges"}


def test_what_changes_something_is_guarded():
    """Before every request but reads, login and logout stands the question whether this server may be changed."""
    for item in ITEMS:
        endpoint = ENDPOINTS[item["name"].partition(":")[0]]
        guarded = any(event["listen"] == "prerequest" for event in item["event"])
        assert guarded is (endpoint.authenticated and endpoint.safety is not Safety.READ)


def test_every_request_of_a_collection_asserts_its_answer():
    """Each has a test of the status and, but for the one answer that is not documented, one of the body."""
    for item in ITEMS:
        (test,) = [event for event in item["event"] if event["listen"] == "test"]
        checks = sum("pm.test(" in line for line in test["script"]["exec"])
        assert checks == (1 if item["name"] == "auth/EndSession" else 2)


def test_the_server_is_the_one_that_is_named():
    """The address goes into both documents; one that is none is refused, and so is one with a password in it."""
    url = "https://acme.ucontactcloud.com"
    assert openapi_document(f"{url}/")["servers"] == [{"url": f"{url}/Integra/resources"}]
    assert {"key": "baseUrl", "value": url, "type": "string"} in postman_collection(url)["variable"]
    for make in (openapi_document, postman_collection):
        for wrong in ("acme", "ftp://acme", "https://api:secret@acme"):
            with pytest.raises(SettingsError):
                make(wrong)

"""Markup for the portal: what a parser of our own reads from it, whatever the values hold."""

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async import InvalidRequest, Respool, SettingsError
from ucontact_async.portal import (
    CallAction,
    HangUpAction,
    Markup,
    RespoolAction,
    ScheduleAction,
    TagAction,
    bridge_script,
    page_headers,
    render_action,
)

GUID = "0d9bb1de-0000-4000-8000-000000000001"
PORTAL = {"portal_origin": "https://acme.ucontactcloud.com", "result_path": "/portal/result"}
CALL = CallAction(campaign="Ventas->", callerid="24001234", destination="")
RESPOOL = Respool(campaign="Ventas->", destination="099123456", dialerbase="b", contact=1)


class Reader(HTMLParser):
    """Keeps each start tag with its attributes, and the text within each element."""

    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self._open = [], {}, []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        """Keep it."""
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        """Leave the element."""
        self._open.pop()

    def handle_data(self, data):
        """Keep the text."""
        self.texts[self._open[-1] if self._open else ""] = data

    @property
    def config(self):
        """Return what the script reads."""
        return json.loads(self.texts["script"])


def test_a_button_says_what_the_portal_is_to_do():
    """The action stands in JSON beside a button, which is dead until the script takes it up; nothing is code."""
    markup = render_action(HangUpAction(), "Hang up", **PORTAL, timeout=3, texts={"posted": "Listo"})
    read = Reader(markup)
    assert [tag for tag, _ in read.tags] == ["form", "script", "button", "output"]
    assert dict(read.tags) == {
        "form": {"class": "ucontact", "method": "post"},
        "script": {"type": "application/json"},
        "button": {"type": "submit", "disabled": None},
        "output": {},
    }
    assert read.texts["button"] == "Hang up"
    assert read.config == {
        "portal": "https://acme.ucontactcloud.com",
        "result": "/portal/result",
        "seconds": 3,
        "action": {"action": "hangup"},
        "inputs": {},
        "texts": {"posted": "Listo"},
    }
    assert markup.__html__() == markup
    assert isinstance(markup, Markup)


def test_what_an_agent_types_in_has_an_input():
    """Each field that is typed in has a labelled input that begins with its value and goes to its place."""
    read = Reader(
        render_action(ScheduleAction(respool=RESPOOL), "Go", **PORTAL, inputs={"call_date": "At", "destination": "To"})
    )
    moment, number = (attributes for tag, attributes in read.tags if tag == "input")
    assert (moment["type"], moment["value"], "required" in moment) == ("datetime-local", "", True)
    assert (number["type"], number["value"], "required" in number) == ("tel", "099123456", True)
    assert read.config["inputs"] == {"call_date": ["callDate"], "destination": ["objectDialer", "destination"]}
    note = Reader(render_action(TagAction(guid=GUID, message=""), "Tag", **PORTAL, inputs={"message": "Note"}))
    assert dict(note.tags)["input"]["type"] == "text"
    caller = Reader(render_action(CALL, "Call", **PORTAL, inputs={"callerid": "From", "destination": "To"}))
    assert ["required" in attributes for tag, attributes in caller.tags if tag == "input"] == [False, True]


@pytest.mark.parametrize(
    ("action", "inputs"),
    [
        (CALL, {"guid": "x", "destination": "x"}),
        (HangUpAction(), {"phone": "x"}),
        (RespoolAction(respool=RESPOOL), {"respool": "x"}),
    ],
)
def test_nothing_else_is_typed_in(action, inputs):
    """An input for what the action does not have, or for a whole object, is refused."""
    with pytest.raises(InvalidRequest, match="nothing that an agent types"):
        render_action(action, "x", **PORTAL, inputs=inputs)


@pytest.mark.parametrize(
    "path", ["", "result", "https://evil.example/", "//evil.example/", "/\\evil.example", "/\t/evil.example"]
)
def test_the_answer_goes_to_this_service_only(path):
    """Where the answer is taken is a path, which no browser reads as another host."""
    with pytest.raises(InvalidRequest, match="result_path"):
        render_action(HangUpAction(), "x", portal_origin=PORTAL["portal_origin"], result_path=path)


@pytest.mark.parametrize(
    "origin", ["*", "", "acme", "https://acme.example/portal", "https://a b", "javascript:1", "null"]
)
def test_the_portal_is_one_origin(origin):
    """A wildcard, a path or anything else that is no origin is refused, for the markup and for the headers."""
    with pytest.raises(SettingsError):
        render_action(HangUpAction(), "x", portal_origin=origin, result_path="/r")
    with pytest.raises(SettingsError):
        page_headers(origin)


def test_origins_are_written_as_browsers_do():
    """Upper case and the scheme's own port are gone: a script compares origins letter by letter."""
    for origin in ("https://ACME.example", "https://acme.example:443", "https://acme.example/"):
        assert page_headers(origin)["Content-Security-Policy"].endswith("frame-ancestors https://acme.example")
    assert page_headers("http://127.0.0.1:80")["Content-Security-Policy"].endswith(" http://127.0.0.1")
    assert page_headers("http://127.0.0.1:8080")["Content-Security-Policy"].endswith(" http://127.0.0.1:8080")


def test_the_policy_lets_nothing_run_but_the_services_own_script():
    """No inline code, no other origin, no form sent anywhere, no page but the portal around it."""
    policy = dict(
        part.split(" ", 1) for part in page_headers("https://a.example")["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert not [word for word in bridge_script().split() if word.startswith(("eval(", "innerHTML", "document.write"))]


HOSTILE = ["</script><script>window.hit=1</script>", "<!--<script>", "\"'><img src=x onerror=window.hit=1>", "&amp;->"]
LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


@given(st.sampled_from(HOSTILE) | LINE)
def test_a_value_arrives_intact_and_ends_nothing(text):
    """Whatever a note, a label or a text holds, a parser finds the same elements, and the value as it was."""
    markup = render_action(
        TagAction(guid=GUID, message=text), text, **PORTAL, inputs={"message": text}, texts={"posted": text}
    )
    read = Reader(markup)
    assert [tag for tag, _ in read.tags] == ["form", "script", "label", "span", "input", "button", "output"]
    assert read.config["action"]["message"] == read.config["texts"]["posted"] == text
    assert dict(read.tags)["input"]["value"] == text
    assert read.texts["span"] == read.texts["button"] == text
    inside = markup.partition('json">')[2].partition("</script>")[0]
    assert not set("<>&'\u2028\u2029") & set(inside)

"""Login and logout: the token in every shape that was ever seen, and what is none."""

import base64
import uuid
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sound_requests import RULES

from ucontact_async.api.session import EndSession, GetUserToken, Session, UserLogin
from ucontact_async.errors import OutcomeUnknown, Rejected, UContactError, Unauthorized, UnreadableReply
from ucontact_async.settings import ServerProfile
from ucontact_async.wire import Answer, read_answer

TOKEN = "YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA=="
ESCAPED = TOKEN.replace("=", "\\u003d")
LOGINS = [Session.get_user_token, Session.user_login]
each_login = pytest.mark.parametrize("endpoint", LOGINS, ids=lambda endpoint: endpoint.path)


def answer(body, endpoint=Session.get_user_token):
    """Return the token that ``body`` holds, or the error that it is."""
    body = body if isinstance(body, bytes) else body.encode()
    try:
        return read_answer(Answer(200, {}, body), endpoint.reply, ServerProfile())
    except UContactError as error:
        return error


class TestLogin:
    """What the two login endpoints answer."""

    @each_login
    @pytest.mark.parametrize(
        "body",
        [
            TOKEN,
            f'"{TOKEN}"',
            f"'{TOKEN}'",
            f'"{TOKEN}',
            f" \r\n{TOKEN}\n",
            ESCAPED,
            f'"{ESCAPED}"',
            f'["{TOKEN}"]',
            f'[{{"id":1}},{{"name":"x"}},"{TOKEN}"]',
            f'[{{"id":1}},{{"name":"x"}},"{ESCAPED}"]\n',
            f'[{{"id":1}},{{"md5secret":"other"}},"{TOKEN}"]',
            f'["en","{TOKEN}"]',
            f'[{{"id":1}},{{"name":"api","md5secret":"{TOKEN}","transport":"wss"}}]',
            f'[{{"md5secret":"older"}},{{"md5secret":"{TOKEN}"}}, {{"id":2}}]',
            f'{{"id":1,"md5secret":"{TOKEN}","limite":0.0}}',
            f'{{"id":1,"md5secret":"{ESCAPED}"}}',
        ],
    )
    def test_every_shape_of_a_token(self, endpoint, body):
        """Bare, quoted, escaped by Gson, last in a list, in the object of a user with a phone."""
        assert answer(body, endpoint) == TOKEN

    @given(st.text(min_size=1, max_size=20), st.uuids(version=4))
    def test_any_token(self, user, value: uuid.UUID):
        """Whatever the user is called, base64 of ``user:uuid`` is a token, in each shape."""
        token = base64.b64encode(f"{user}:{value}".encode("utf-8", "replace")).decode()
        shapes = [token, f'"{token}"', f'[{{}},{{}},"{token}"]', f'{{"md5secret":"{token}"}}']
        assert {answer(shape) for shape in shapes} == {token}

    @each_login
    def test_both_sides_agree(self, endpoint):
        """What the emulator answers the client reads."""
        assert answer(endpoint.reply.encode(TOKEN), endpoint) == TOKEN

    @each_login
    @pytest.mark.parametrize("body", ["0", "0\n", " 0 ", '"0"', '["0"]', '{"md5secret":"0"}'])
    def test_a_refused_login(self, endpoint, body):
        """``0`` means that user or password are wrong, with HTTP 200: Unauthorized, no mere rejection."""
        error = answer(body, endpoint)
        assert type(error) is Unauthorized
        assert not isinstance(error, Rejected)
        assert "user and password" in str(error)

    @each_login
    @pytest.mark.parametrize(
        "body",
        [
            *("", " ", "1", "OK", "true", "null", "{}", "[]", '""', '[""]', '"1"', "1.5", "maintenance", "[[]]"),
            *('{"error":"busy"}', '{"md5secret":null}', '{"md5secret":7}', '[{"md5secret":null}]', '[{"id":1}]'),
            "<html><head><title>Login</title></head><body>YXBpOjEyM2U0NTY3LWU4OWItNDJk</body></html>",
            f"{TOKEN} {TOKEN}",
            f'"{TOKEN}\\r\\nX-Injected: 1"',
            f"{TOKEN}\r\nX-Injected: 1",
            f'"{TOKEN}\\u00e9"',
            TOKEN + "é",
            b"\xff\xfe" + TOKEN.encode(),
            b"[" * 100_000,
        ],
    )
    def test_what_is_no_token(self, endpoint, body):
        """A page, a word, an empty answer, and above all what could become a second header: unreadable."""
        assert type(answer(body, endpoint)) is UnreadableReply

    @given(st.binary())
    def test_any_answer_is_a_token_or_an_error(self, body):
        """Whatever comes, what is taken for a token can stand in a header, and nothing else is raised."""
        result = answer(body)
        assert isinstance(result, UContactError) or (result.isascii() and result.isprintable() and " " not in result)

    @pytest.mark.parametrize("body", [f"token is {TOKEN}", f'{{"token":"{TOKEN}"}}', f'[["{TOKEN}"]]'])
    def test_an_unknown_shape_is_not_quoted(self, body):
        """The error of an answer in an unknown shape does not quote it: it may hold the token."""
        error = answer(body)
        assert isinstance(error, OutcomeUnknown)
        assert TOKEN[:8] not in str(error) + repr(error) + repr(vars(error))


class TestRequests:
    """What login and logout send, and what they show."""

    def test_what_they_send(self):
        """Plain form fields (protocol.md 1.1, 1.5), without an Authorization header."""
        requests = [
            (Session.get_user_token, GetUserToken(user="api", password="p+/="), {"user": "api", "password": "p+/="}),
            (Session.user_login, UserLogin(user="api", password="p+/="), {"user": "api", "password": "p+/="}),
            (Session.end_session, EndSession(user="api", token=TOKEN), {"user": "api", "token": TOKEN}),
        ]
        for endpoint, request, fields in requests:
            prepared = endpoint.prepare(request, RULES)
            assert dict(parse_qsl(prepared.body.decode("ascii"))) == fields
            assert not prepared.authenticated
        paths = [endpoint.path for endpoint, *_ in requests]
        assert paths == ["auth/getUserToken", "auth/UserLogin", "auth/EndSession"]

    @pytest.mark.parametrize(
        "request_", [GetUserToken(user="api", password="canary"), EndSession(user="api", token="canary")]
    )
    def test_secrets_are_not_shown(self, request_):
        """Neither password nor token is in any text made of a request."""
        assert "canary" not in repr(request_) + str(request_) + repr(list(request_.__rich_repr__()))

    @pytest.mark.parametrize("body", [b"1", b"0", b"", b"OK", b"\xff", b"<html>"])
    def test_the_end_of_a_session_answers_anything(self, body):
        """Its answer is not documented, so each is as good."""
        assert read_answer(Answer(200, {}, body), Session.end_session.reply, ServerProfile()) is None

    @pytest.mark.parametrize("endpoint", Session.endpoints().values())
    def test_the_emulator_can_answer(self, endpoint):
        """Each reply has a body of its own."""
        assert msgspec.json.decode(endpoint.reply.encode(TOKEN)) in (TOKEN, 1)

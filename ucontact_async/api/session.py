"""Login and logout, as the vendor's "API" page and its clients know them (``protocol.md`` section 1).

This file states the endpoints; when to log in and who shares a token is the token manager's business.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from ..endpoint import Endpoint, EndpointGroup, Request, Safety
from ..errors import UContactError, Unauthorized
from ..text import FREE_TEXT, SECRET
from ..wire import Reply

__all__ = ["EndSession", "GetUserToken", "Session", "UserLogin"]

# base64 of "user:uuid" (1.3), so never a short word such as OK or maintenance; at least as long as an uuid.
_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{16,4096}={0,2}")


class LoginReply(Reply[str]):
    """The token in every shape that was seen: bare, quoted, last in a list, ``md5secret`` of an object (1.1)."""

    secret = True

    def decode(self, body: bytes) -> str:
        text = body.decode("utf-8").strip()
        if text == "0":
            raise self.refusal()
        try:
            token = _find_token(msgspec.json.decode(text))
        except msgspec.DecodeError:
            token = text.strip("\"'").replace("\\u003d", "=")
        if token == "0":
            raise self.refusal()
        if token is None or not _TOKEN.fullmatch(token):
            raise ValueError("no token in the answer")
        return token

    def encode(self, value: str) -> bytes:
        return msgspec.json.encode(value)

    def refusal(self) -> UContactError:
        return Unauthorized("the server refused user and password (it answered 0)", status=200)


def _find_token(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        secret = value.get("md5secret")
        return secret if isinstance(secret, str) else None
    if isinstance(value, list):
        texts = [item for item in value if isinstance(item, str)]
        secrets = [item["md5secret"] for item in value if isinstance(item, dict) and "md5secret" in item]
        found = texts[-1] if texts else (secrets[-1] if secrets else None)
        return found if isinstance(found, str) else None
    return None


class Anything(Reply[None]):
    """Any body: what EndSession answers is not documented (1.5)."""

    def decode(self, body: bytes) -> None:
        return None

    def encode(self, value: None) -> bytes:
        return b"1"


class GetUserToken(Request[str], frozen=True, kw_only=True):
    """Log in and return the session token. Older servers do not have it and answer 404."""

    user: Annotated[str, FREE_TEXT]
    password: Annotated[str, SECRET]


class UserLogin(Request[str], frozen=True, kw_only=True):
    """Log in on an older server and return the session token."""

    user: Annotated[str, FREE_TEXT]
    password: Annotated[str, SECRET]


class EndSession(Request[None], frozen=True, kw_only=True):
    """Make a token useless."""

    user: Annotated[str, FREE_TEXT]
    token: Annotated[str, SECRET]


class Session(EndpointGroup):
    """Login and logout; used by the token manager, not by users."""

    # A second login is harmless but for the token it may replace, so a lost answer is asked for again.
    get_user_token = Endpoint("auth/getUserToken", GetUserToken, LoginReply(), Safety.REPEATABLE, authenticated=False)
    user_login = Endpoint("auth/UserLogin", UserLogin, LoginReply(), Safety.REPEATABLE, authenticated=False)
    end_session = Endpoint("auth/EndSession", EndSession, Anything(), Safety.REPEATABLE, authenticated=False)

"""Who may come in: users, their live tokens, login and logout (``protocol.md`` section 1).

It knows nothing of dialers or connections.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from random import Random
from typing import Any
from uuid import UUID

from ..api.session import EndSession, GetUserToken, UserLogin
from ..errors import NotFound, Unauthorized
from ..serving import Call, Handler, gson
from .ledger import Ledger
from .switches import Switches, TokenShape

__all__ = ["Sessions"]

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/_-]")


class Sessions:
    """The users of one server and the tokens that live: ``live`` has the user by the token."""

    def __init__(self, users: Mapping[str, str], ledger: Ledger, randomness: Random, switches: Switches) -> None:
        """``users`` are passwords by name; ``randomness`` makes the tokens."""
        self.users = dict(users)
        self.live: dict[str, str] = {}
        self._ledger = ledger
        self._randomness = randomness
        self._switches = switches
        self.handlers: dict[str, Handler] = {
            "auth/getUserToken": self._get_user_token,
            "auth/UserLogin": self._user_login,
            "auth/EndSession": self._end_session,
        }

    def open(self, user: str) -> str:
        """Return a new live token of ``user``, without a login and beside the others."""
        bits = self._randomness.getrandbits(128)
        token = base64.b64encode(f"{user}:{UUID(int=bits, version=4)}".encode()).decode()
        self.live[token] = user
        return token

    def end_all(self) -> None:
        """Make every token useless, as a restart of the server does."""
        self.live.clear()

    def authorise(self, header: str | None) -> None:
        """Raise :class:`Unauthorized` unless the Authorization ``header`` holds a live token."""
        if not self._switches.require_token:
            return
        scheme, _, token = (header or "").partition(" ")
        if token in self.live and (scheme == "Basic" or not self._switches.strict_header):
            return
        if token and not self._switches.strict_header:
            significant = _NOT_BASE64.sub("", token)
            if any(significant == _NOT_BASE64.sub("", live) for live in self.live):
                return
        raise Unauthorized("no live token", status=401)

    def _get_user_token(self, call: Call) -> bytes:
        shape = self._switches.get_user_token
        if shape == "absent":
            raise NotFound("an old server", status=404)
        return self._login(call.request, shape)

    def _user_login(self, call: Call) -> bytes:
        return self._login(call.request, self._switches.user_login)

    def _login(self, login: GetUserToken | UserLogin, shape: TokenShape) -> bytes:
        if login.user not in self.users or self.users[login.user] != login.password:
            raise Unauthorized("bad login", status=200)
        if self._switches.one_session:
            self.live = {token: user for token, user in self.live.items() if user != login.user}
        self._ledger.logins += 1
        return _in_shape(self.open(login.user), login.user, shape)

    def _end_session(self, call: Call) -> None:
        ending: EndSession = call.request
        if self.live.get(ending.token) == ending.user:
            del self.live[ending.token]


def _in_shape(token: str, user: str, shape: TokenShape) -> bytes:
    peer = {"id": 1, "name": user, "host": "dynamic", "context": "entrantes", "transport": "wss"}
    shapes: dict[TokenShape, Any] = {
        "quoted": token,
        "list": [{"id": 1, "name": user}, {"id": 1, "profile": "administrator"}, token],
        "object": peer | {"md5secret": token},
        "objects": [{"id": 1, "name": user}, {"id": 1, "profile": "agent"}, peer | {"md5secret": token}],
    }
    return token.encode() if shape == "raw" else gson(shapes[shape])

"""Login and logout as calls like all others, for the token manager; old servers are asked by their own endpoint."""

from __future__ import annotations

from typing import Literal

from .api.session import EndSession, GetUserToken, Session, UserLogin
from .caller import HttpCaller
from .errors import NotFound, SettingsError
from .settings import Settings

__all__ = ["Login"]


class Login:
    """Login and logout over a caller, for the token manager."""

    def __init__(self, settings: Settings, caller: HttpCaller) -> None:
        self._settings = settings
        self._caller = caller
        self._endpoint: Literal["new", "old"] = "new"

    async def login(self) -> str:
        """Return a new token; :class:`SettingsError` where user or password is not given."""
        user, password = self._settings.user, self._settings.password
        if user is None or password is None:
            raise SettingsError("a login needs user and password")
        if self._endpoint == "new":
            try:
                request = GetUserToken(user=user, password=password.reveal())
                return await self._caller.call(Session.get_user_token, request)
            except NotFound:
                pass  # protocol.md 1.1: an old server has no getUserToken
        token = await self._caller.call(Session.user_login, UserLogin(user=user, password=password.reveal()))
        self._endpoint = "old"  # not before it answered: one that is being deployed has neither, and then the new
        return token

    async def logout(self, token: str) -> None:
        """End the session of ``token``."""
        assert self._settings.user is not None
        await self._caller.call(Session.end_session, EndSession(user=self._settings.user, token=token))

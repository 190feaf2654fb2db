"""A pytest plugin: ``pytest_plugins = ["ucontact_async.testing"]`` gives tests a server and a client of it.

Both are for asynchronous tests under anyio's own plugin. Every test has a server of its own, which starts in a few
milliseconds: nothing of one test is there in the next.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .client import UContact
from .emulator import Emulator

__all__ = ["ucontact_client", "ucontact_server"]


@pytest.fixture
async def ucontact_server(anyio_backend: Any) -> AsyncIterator[Emulator]:  # noqa: ARG001  makes anyio's plugin run it
    """Yield an emulator on a free port of loopback; its user is ``api``, the password ``secret``.

    ``set_faults`` makes it misbehave, ``ledger`` has what it really did, ``state`` what is on its spool and schedule.
    """
    async with Emulator() as running:
        yield running


@pytest.fixture
async def ucontact_client(ucontact_server: Emulator) -> AsyncIterator[UContact]:
    """Yield a client of ``ucontact_server``, logged in by its first call; the server's zone is UTC."""
    async with UContact(ucontact_server.url, user="api", password="secret", timezone="UTC") as client:  # noqa: S106
        yield client

"""A pytest plugin: ``pytest_plugins = ["ucontact_async.testing"]`` gives tests an emulator as a fixture.

It needs an asynchronous test under anyio's own plugin, and knows nothing of the client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .emulator import Emulator

__all__ = ["emulator"]


@pytest.fixture
async def emulator(anyio_backend: Any) -> AsyncIterator[Emulator]:  # noqa: ARG001  makes anyio's plugin run it
    """Yield an emulator on a free port of loopback; its user is ``api``, the password ``secret``."""
    async with Emulator() as running:
        yield running

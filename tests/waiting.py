"""Waiting for what another task does, and never for a time that it surely takes."""

import asyncio


async def until(condition):
    """Return once ``condition`` holds; ``TimeoutError`` after 20 seconds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)

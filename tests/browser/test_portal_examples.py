"""The examples of forms, each in a process of its own and in the emulated portal, clicked as an agent does."""

import asyncio
import os
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from ucontact_async.emulator import CallRecord

EXAMPLES = Path(__file__).parents[2] / "examples" / "portal"


@asynccontextmanager
async def running(example, emulator):
    """Run the example; yield the origin that it serves, where nothing but its own page may post a result."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{free.getsockname()[1]}"
    server = {"UCONTACT_URL": emulator.url, "UCONTACT_USER": "api", "UCONTACT_PASSWORD": "secret"}
    environment = os.environ | server | {"PORTAL_ORIGIN": emulator.url, "FORM_ORIGIN": origin}
    process = await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLES / example), env=environment)
    try:
        async with aiohttp.ClientSession() as http:
            posted = {"action": "hangup", "outcome": "posted"}
            while True:
                try:
                    async with http.post(f"{origin}/result", json=posted, headers={"Origin": "null"}) as answer:
                        assert answer.status == 400
                        break
                except aiohttp.ClientConnectionError:
                    assert process.returncode is None
                    await asyncio.sleep(0.02)
        yield origin
    finally:
        process.terminate()
        await process.wait()


async def test_one_click_respools_the_agents_contact(emulator, page):
    """The form by aiohttp.web asks for the call and its service respools the contact on its next number."""
    contact = {"destination": "099000101", "alternatives": "099000101:099000201", "dialerbase": "base1", "contact": 7}
    emulator.state.respool(CallRecord(campaign="Ventas->", data="id=C-1", **contact))
    emulator.portal.dial_next()
    async with running("respool_form.py", emulator) as origin:
        await page.goto(f"{emulator.url}/_emulator/portal?form={origin}/")
        frame = page.frame_locator("#form")
        await frame.get_by_role("button", name="Respool").click()
        await frame.get_by_text("Done").wait_for()
        (row,) = emulator.state.spool
        assert (row.destination, row.alternatives, row.contact, row.data) == ("099000201", "099000101", 7, "id=C-1")
        assert [entry.endpoint for entry in emulator.ledger] == ["Dialers/Respool"]


async def test_a_typed_number_is_called_and_tagged(emulator, page):
    """The form by FastAPI calls the number, leads on to the call's page, and tags its recording."""
    pytest.importorskip("fastapi", reason="fastapi is not installed: python -m pip install fastapi uvicorn")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: python -m pip install fastapi uvicorn")
    async with running("call_form.py", emulator) as origin:
        await page.goto(f"{emulator.url}/_emulator/portal?form={origin}/")
        frame = page.frame_locator("#form")
        await frame.get_by_label("Number").fill("099123456")
        await frame.get_by_role("button", name="Call").click()
        await frame.get_by_label("Note").fill("<b>call back</b>")
        await frame.get_by_role("button", name="Tag").click()
        await frame.get_by_text("Sent to the portal").wait_for()
        call, tag = emulator.ledger
        assert (call.fields["destination"], call.fields["outqueue"]) == ("099123456", "Ventas->")
        guid = emulator.portal.call.guid
        assert tag.fields == {"phone": "099123456", "guid": guid, "data": "<b>call back</b>"}
        async with aiohttp.ClientSession() as http, http.get(f"{origin}/?guid=../x") as answer:
            assert answer.status == 400

"""The emulator's wallboard in a browser: what a person sees while a bulk run goes on."""

import json
from datetime import datetime

import aiohttp

from ucontact_async import Respool, ScheduledCall, UContact
from ucontact_async.emulator import Emulator

ROWS, HALF = 600, 300
RULES = [
    {"endpoint": "*", "fault": "latency", "seconds": 0.001},
    {"endpoint": "Dialers/*", "fault": "status", "status": 429, "headers": {"Retry-After": "0"}, "count": 3},
    {"endpoint": "Dialers/*", "fault": "close_after_apply", "after": 100, "count": 2},
]


def row(number):
    if number % 3:
        when = datetime(2099, 5, 5, 10)
        return ScheduledCall(campaign="Sales->", destination=f"09{number:07d}", calldate=when)
    return Respool(campaign="Cobranzas->", destination=f"09{number:07d}", dialerbase="b", contact=1)


async def shows(page, **figures):
    """Wait until the page shows these figures, each by the name of its element."""
    from playwright.async_api import expect

    for name, figure in figures.items():
        shown = f"{figure:,}" if isinstance(figure, int) else figure
        await expect(page.locator(f"#{name}")).to_have_text(shown)


async def table(page, name):
    """Return the cells of a table as texts, row by row."""
    return [await row.locator("td").all_text_contents() for row in await page.locator(f"#{name} tr").all()]


async def test_the_numbers_move_with_a_bulk_run(emulator, page):
    """The figures follow a run, rest where it rests, and end as the emulator's own."""
    emulator.set_faults({"rules": RULES})
    await page.goto(emulator.url)
    await shows(page, connection="Live", applied=0, no_campaigns="No calls yet.")

    async def rows():
        for number in range(ROWS):
            if number == HALF:
                await shows(page, applied=HALF, spool=HALF // 3, schedule=HALF - HALF // 3, in_flight=0)
            yield row(number)

    async with UContact(emulator.url, user="api", password="secret", timezone="America/Montevideo") as uc:
        report = await uc.bulk(rows(), max_concurrency=16)
        assert (report.rows, report.unknown) == (ROWS, 2)
        state = emulator.snapshot()
        await shows(page, **{name: state[name] for name in ("applied", "in_flight", "max_in_flight", "logins")})
        await shows(page, spool=len(state["spool"]), schedule=len(state["schedule"]), sessions=state["sessions"])
        await shows(page, requests=sum(state["requests"].values()), faults_hit=5)
    assert state["applied"] == ROWS
    assert await table(page, "campaigns") == [["Cobranzas->", "200", "0", "200"], ["Sales->", "0", "400", "400"]]
    assert [cells[0] for cells in await table(page, "faults")] == ["latency", "status", "close_after_apply"]
    assert [cells[2] for cells in await table(page, "latest")] == ["09000****"] * 12
    assert await page.locator("#peak").text_content() != "0"
    assert " L" in await page.locator("#line").get_attribute("d")


HOSTILE = [
    "</script><script>window.hit=1</script>->",
    "<img src=x onerror=window.hit=1>->",
    "\"'><svg onload=window.hit=1>->",
    "&lt;b&gt;&amp;->",
    "javascript:window.hit=1//->",
    "\u202e\u0000\u2028->",
    "Sales->",
    "Ventas<-",
]


async def test_campaigns_are_text_whatever_they_are_called(emulator, page):
    """Names of markup, script, arrows and control characters are shown as text, and the page keeps its width."""
    await page.goto(emulator.url)
    headers = {"Authorization": f"Basic {emulator.state.sessions.open('api')}"}
    url = f"{emulator.url}/Integra/resources/Dialers/Respool"
    async with aiohttp.ClientSession(headers=headers) as http:
        for name in [*HOSTILE, "x" * 500]:
            spool = {"campaign": name, "destination": "9" * 500, "dialerbase": name, "contact": 1}
            async with http.post(url, data={"callspool": json.dumps(spool)}) as response:
                assert await response.read() == b"1"
    await shows(page, applied=len(HOSTILE) + 1)
    shown = {cells[0] for cells in await table(page, "campaigns")}
    escaped = {name.replace("\u202e\u0000\u2028", "\\u202e\\x00\\u2028") for name in HOSTILE}
    assert shown == escaped | {"x" * 64 + "..."}
    assert {cells[1] for cells in await table(page, "latest")} == shown
    assert await page.evaluate("window.hit") is None
    assert await page.locator("main :is(script, img, b, [onload])").count() == 0
    for width in (400, 1200):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_it_is_light_or_dark_as_the_system_is(emulator, page):
    """The ground is dark under light text where people prefer that, and the other way round."""
    await page.goto(emulator.url)
    brightness = """() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]
        .map((colour) => colour.match(/\\d+/g).slice(0, 3).map(Number).reduce((sum, part) => sum + part))"""
    for scheme, darker in (("light", "text"), ("dark", "ground")):
        await page.emulate_media(color_scheme=scheme)
        ground, text = await page.evaluate(brightness)
        assert ("ground" if ground < text else "text") == darker


async def test_a_page_outlives_the_emulator(page):
    """The emulator ends though it is watched; the page says so, and shows the next one at that port from its start."""
    async with Emulator() as emulator:
        emulator.ledger.record("Dialers/Respool", {"campaign": "Sales->"})
        await page.goto(emulator.url)
        await shows(page, connection="Live", applied=1)
    await shows(page, connection="Not connected; trying again")
    async with Emulator(port=int(emulator.url.rpartition(":")[2])):
        await shows(page, connection="Live", applied=0)
        assert all("net::ERR_" in complaint for complaint in page.complaints)
        page.complaints.clear()
        await page.close()

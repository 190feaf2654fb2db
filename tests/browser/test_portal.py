"""Forms inside the agent portal, in a browser: clicked, performed by the portal, their answers back in the service."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import datetime

import porthole
import pytest
from aiohttp import web

from ucontact_async.emulator import CallRecord, Emulator, PortalForm, Switches
from ucontact_async.portal import (
    CallAction,
    CallWithPhoneAction,
    CtiAction,
    HangUpAction,
    RespoolAction,
    ScheduleAction,
    TagAction,
    bridge_script,
    page_headers,
    render_action,
)

CONTACT = {"campaign": "Ventas->", "destination": "099000101", "alternatives": "099000101:099000201"}
ACT = "**/_emulator/portal/act"
HOSTILE = "</script><script>window.hit=1</script><!--\"'><img src=x onerror=window.hit=1>&lt;"


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The text of the unmodified Porthole library."""
    return porthole.fetch(tmp_path_factory.mktemp("porthole"))


@pytest.fixture
async def form(emulator):
    """The service with the form of all seven actions; a dialer has a contact for the agent."""
    emulator.state.respool(CallRecord(**CONTACT, dialerbase="base1", contact=7, data="id=C-1"))
    async with PortalForm(emulator.url) as running:
        yield running


@asynccontextmanager
async def site(pages):
    """Serve ``pages``, each a text or a text with headers by its path, on an origin of its own; yield that."""

    async def answer(request):
        page = pages[request.path]
        if callable(page):
            return await page(request)
        text, headers = page if isinstance(page, tuple) else (page, {})
        kind = "text/javascript" if request.path.endswith(".js") else "text/html"
        return web.Response(text=text, content_type=kind, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def embedded(page, emulator, address):
    """Open the portal with the form at ``address`` inside; return the form."""
    await page.goto(f"{emulator.url}/_emulator/portal?form={address}")
    frame = page.frame(name="form")
    await frame.wait_for_load_state("load")
    return frame


async def hold(page):
    """Hold what the form asks of the portal; return the list in which it is kept."""
    held = []

    def keep(route):
        held.append(route)

    await page.route(ACT, keep)
    return held


async def click(frame, label):
    """Click the button once it can be, and wait until that form has been told what became of it."""
    from playwright.async_api import expect

    button = frame.get_by_role("button", name=label, exact=True)
    await button.click()
    await expect(frame.locator("form", has=button).locator("output")).to_have_attribute(
        "data-code", "posted", timeout=30_000
    )


async def says(frame, label, code):
    """Wait until the form with this button says so."""
    from playwright.async_api import expect

    button = frame.get_by_role("button", name=label, exact=True)
    await expect(frame.locator("form", has=button).locator("output")).to_have_attribute(
        "data-code", code, timeout=30_000
    )


async def came(kept, number):
    """Wait until the list has so many, and return the last."""
    while len(kept) < number:
        await asyncio.sleep(0.01)
    assert len(kept) == number
    return kept[-1]


async def typed_call(frame, label):
    """Type a number beside the button and click it."""
    whole = frame.locator("form", has=frame.get_by_role("button", name=label, exact=True))
    await whole.get_by_label("Number").fill("099123456")
    await whole.get_by_role("button").click()


@pytest.fixture(params=["emulated", "porthole"])
async def portal(request, page):
    """Let the portal's messages be handled by the emulated portal itself, or by the unmodified Porthole library."""
    if request.param == "porthole":
        script = request.getfixturevalue("library") + porthole.PORTAL
        await page.route(
            "**/_emulator/portal.js", lambda route: route.fulfill(body=script, content_type="text/javascript")
        )
    return request.param


async def test_each_of_the_seven_is_performed_and_answered(emulator, form, page, portal):
    """Every action of the page is clicked, done by the portal, seen in the ledger, and its answer is in the service."""
    emulator.portal.dial_next()
    frame = await embedded(page, emulator, form.url)

    await frame.get_by_role("button", name="Which call is this?").click()
    known = await came(form.results, 1)
    assert (known.action, known.outcome) == (CtiAction, "answered")
    call = known.reply.cti
    assert (call.guid, call.campaign, call.contact) == (emulator.portal.call.guid, "Ventas->", 7)
    await frame.get_by_text("C-1").wait_for()

    await frame.get_by_label("Note").fill(HOSTILE)
    await click(frame, "Tag the recording")
    assert ((await came(form.results, 2)).action, form.results[-1].outcome) == (TagAction, "posted")
    await click(frame, "Try the next number")
    assert ((await came(form.results, 3)).action, form.results[-1].outcome) == (RespoolAction, "posted")
    await frame.get_by_label("Call again at").fill("2099-05-05T10:00")
    await click(frame, "Schedule")
    assert ((await came(form.results, 4)).action, form.results[-1].outcome) == (ScheduleAction, "posted")
    await click(frame, "Hang up")
    assert ((await came(form.results, 5)).action, form.results[-1].outcome) == (HangUpAction, "posted")

    await typed_call(frame, "Call")
    first = await came(form.results, 6)
    assert (first.action, first.reply.guid) == (CallAction, emulator.portal.call.guid)
    await frame.get_by_text(first.reply.guid).wait_for()
    await typed_call(frame, "Call with my phone")
    second = await came(form.results, 7)
    assert (second.action, second.reply.guid) == (CallWithPhoneAction, emulator.portal.call.guid)
    assert first.reply != second.reply
    await frame.get_by_text(second.reply.guid).wait_for()

    done = [(entry.endpoint.split("/")[1], entry.fields) for entry in emulator.ledger]
    assert [name for name, _ in done] == [
        "TagRecord",
        "Respool",
        "ScheduleDialerCall",
        "HungupPhone",
        "AgentCall",
        "AgentCall",
    ]
    assert all(entry.answered for entry in emulator.ledger)
    tag, respool, schedule, hang_up, call, own = (fields for _, fields in done)
    assert tag == {"phone": "099000101", "guid": known.reply.cti.guid, "data": HOSTILE}
    assert (respool["destination"], respool["alternatives"], respool["data"]) == ("099000201", "099000101", "id=C-1")
    assert (schedule["destination"], schedule["calldate"]) == ("099000201", "2099-05-05 10:00:00")
    assert hang_up == {"phone": "1001"}
    assert (call["destination"], call["outqueue"], call["callerid"]) == ("099123456", "Ventas->", "24001234")
    assert (own["destination"], own["phone"], own["callerid"]) == ("099123456", "1001", "")
    asked = ["CTI", "tag", "respool", "schedule", "hangup", "call", "callWithPhone"]
    assert [one.action for one in emulator.portal.asked] == asked
    assert emulator.portal.asked[3].fields["callDate"] == "2099-05-05 10:00:00"  # as the page documents it
    assert await page.evaluate("window.hit") is None
    assert await frame.evaluate("window.hit") is None


async def test_the_vendors_sample_works_in_the_emulated_portal(emulator, page, library):
    """A form that speaks by the unmodified library is answered as the real portal answers it."""
    html = "<!doctype html><title>Sample</title><link rel=icon href=data:,><script src=/porthole.js></script>"
    pages = {"/": html + "<script src=/sample.js></script>", "/porthole.js": library, "/sample.js": porthole.FORM}
    async with site(pages) as address:
        frame = await embedded(page, emulator, address + "/")
        await frame.wait_for_function("window.guid")
        assert await frame.evaluate("window.guid") == emulator.portal.call.guid
        assert emulator.ledger.of("Agents/AgentCall")[0].fields["destination"] == "099123456"


def form_page(portal_origin, *actions, seconds=50.0):
    """Return a page with a button for each action, of that name, perhaps with its own seconds to wait."""
    buttons = [
        render_action(action, name, portal_origin=portal_origin, result_path="/result", timeout=(*own, seconds)[0])
        for name, action, *own in actions
    ]
    script = "<script src=/bridge.js defer></script>"
    return f"<!doctype html><title>Form</title><link rel=icon href=data:,>{script}{''.join(buttons)}"


def service(page, posted, bridge=None):
    """Return the pages of a service with a form, which keeps what comes back in ``posted``."""

    async def take(request):
        posted.append(await request.json())
        return web.Response(status=204)

    return {"/": page, "/result": take, "/bridge.js": bridge or bridge_script()}


CALL = ("Call", CallAction(campaign="Ventas->", destination="099123456"))
SPY = """<!doctype html><title>Foreign</title><link rel=icon href=data:,><iframe name=form src="{form}"></iframe>
<script>
const seen = [];
addEventListener("message", (event) => seen.push(event.data));
const forged = JSON.stringify({ data: { guid: "00000000-0000-4000-8000-00000000dead" }, sourceOrigin: "{portal}" });
setInterval(() => frames.form.postMessage(forged, "*"), 20);
</script>"""


def spying(form, portal):
    return SPY.replace("{form}", form).replace("{portal}", portal)


async def test_a_foreign_page_cannot_embed_the_form(emulator, page):
    """With the headers that we give, a browser does not even show the form inside another site."""
    posted = []
    pages = service((form_page(emulator.url, CALL), page_headers(emulator.url)), posted)
    async with site(pages) as form, site({"/": spying(form, emulator.url)}) as foreign:
        await page.goto(foreign)
        await page.wait_for_function("seen !== undefined")
        assert await page.frame(name="form").locator("button").count() == 0
        assert await page.evaluate("seen") == []
        assert "frame-ancestors" in page.complaints.pop()


async def test_a_foreign_page_that_embeds_the_form_hears_nothing(emulator, page):
    """Without those headers the form itself sees who embeds it, says so, and sends nothing."""
    posted = []
    async with (
        site(service(form_page(emulator.url, CALL), posted)) as form,
        site({"/": spying(form, emulator.url)}) as foreign,
    ):
        await page.goto(foreign)
        frame = page.frame(name="form")
        await says(frame, "Call", "foreign-portal")
        assert await frame.get_by_role("button").is_disabled()
        assert await page.evaluate("seen") == []
    assert posted == []


async def test_a_browser_that_does_not_tell_who_embeds_delivers_nothing_either(emulator, page):
    """Where the form cannot see who embeds it, the foreign page gets no message, and its answers are not taken."""
    posted = []
    blind = bridge_script().replace("location.ancestorOrigins", "undefined")
    assert blind != bridge_script()
    text = form_page(emulator.url, CALL, seconds=0.5)
    async with (
        site(service(text, posted, blind)) as form,
        site({"/": spying(form, emulator.url)}) as foreign,
    ):
        await page.goto(foreign)
        frame = page.frame(name="form")
        await frame.get_by_role("button").click()
        await says(frame, "Call", "unanswered")
        assert await page.evaluate("seen") == []
        assert "target origin" in page.complaints.pop()
    assert posted == [{"action": "call", "outcome": "unanswered", "data": None}]


async def test_nobody_but_the_embedding_window_is_believed(emulator, page):
    """Another window of the portal's own site cannot answer in its place, nor can a message that is no envelope."""
    posted = []
    held = await hold(page)
    async with site(service(form_page(emulator.url, CALL), posted)) as address:
        frame = await embedded(page, emulator, address)
        await frame.get_by_role("button").click()
        await says(frame, "Call", "working")
        await came(held, 1)
        add = """() => document.body.append(Object.assign(document.createElement("iframe"), { name: "sibling" }))"""
        await page.evaluate(add)
        forged = json.dumps({"data": {"guid": "00000000-0000-4000-8000-00000000dead"}})
        sibling = page.frame(name="sibling")
        assert await sibling.evaluate("origin") == emulator.url
        await sibling.evaluate("(text) => parent.frames.form.postMessage(text, '*')", forged)
        await page.evaluate(
            """() => ["", "{", "null", "[]", '{"data":null}', '{"data":"guid"}', '{"data":{"CTI":"{}"}}', { guid: 1 }]
                .forEach((text) => frames.form.postMessage(text, "*"))"""
        )
        twin = """(src) => new Promise((onload) => document.body.append(
            Object.assign(document.createElement("iframe"), { name: "twin", src, onload })))"""
        await page.evaluate(twin, address)
        asked = json.dumps({"data": {"action": "hangup"}, "sourceOrigin": address, "targetOrigin": emulator.url})
        await page.frame(name="twin").evaluate("(text) => parent.postMessage(text, '*')", asked)
        await page.evaluate("new Promise((later) => setTimeout(later, 50))")
        assert len(held) == 1
        await held[0].continue_()
        await says(frame, "Call", "answered")
    assert posted == [{"action": "call", "outcome": "answered", "data": {"guid": emulator.portal.call.guid}}]


async def test_what_a_value_holds_arrives_and_runs_nowhere(emulator, form, page):
    """Markup, script and quotes in a note, in a label and in the call's data arrive as they are and stay text."""
    record = CallRecord(**CONTACT, dialerbase="base1", contact=8, data=f"note={HOSTILE.replace('=', '-')}", priority=2)
    emulator.state.respool(record)
    call = emulator.portal.dial_next()
    frame = await embedded(page, emulator, form.url)
    await frame.get_by_role("button", name="Which call is this?").click()
    await frame.get_by_text(call.data.removeprefix("note=")).wait_for()
    posted = []
    tag = ("Tag", TagAction(guid=call.guid, message=HOSTILE))
    await frame.get_by_text("cannot be respooled").wait_for()
    async with site(service(form_page(emulator.url, tag, (HOSTILE, HangUpAction())), posted)) as address:
        frame = await embedded(page, emulator, address)
        assert await frame.locator("button").all_text_contents() == ["Tag", HOSTILE]
        await click(frame, "Tag")
        await page.locator("#asked td").first.wait_for()
    assert emulator.ledger.of("Agents/TagRecord")[0].fields["data"] == HOSTILE
    for place in page.frames:
        assert await place.evaluate("window.hit") is None


async def test_outside_the_portal_the_button_says_so(form, page):
    """Opened by itself the form says at once that it is in no portal, and what a script sends is refused as well."""
    await page.goto(form.url)
    for label in ("Call", "Call with my phone", "Which call is this?", "Hang up"):
        await says(page, label, "not-embedded")
        assert await page.get_by_role("button", name=label, exact=True).is_disabled()
    assert await page.get_by_text("only inside the agent portal").count() == 4
    send = """() => ucontact.connect({ portalOrigin: "https://acme.example" }).send({ action: "hangup" }).catch(
        (error) => [error instanceof ucontact.PortalError, error.code])"""
    assert await page.evaluate(send) == [True, "not-embedded"]
    connect = "(portalOrigin) => { try { ucontact.connect({ portalOrigin }); } catch (error) { return error.name; } }"
    for origin in ("*", "https://acme.example/", "acme.example", "null"):  # it is one, and named exactly
        assert await page.evaluate(connect, origin) == "TypeError"
    assert form.results == []


async def test_one_action_at_a_time(emulator, page):
    """While a call waits for its answer nothing else is sent, from whichever button: it would ring twice."""
    posted = []
    held = await hold(page)
    buttons = (CALL, ("Other", CALL[1]), ("Which", CtiAction()), ("Hang", HangUpAction()))
    async with site(service(form_page(emulator.url, *buttons), posted)) as address:
        frame = await embedded(page, emulator, address)
        await frame.get_by_role("button", name="Call").click()
        await says(frame, "Call", "working")
        await came(held, 1)
        assert await frame.get_by_role("button", name="Call").is_disabled()
        for label in ("Other", "Which", "Hang"):
            await frame.get_by_role("button", name=label).click()
            await says(frame, label, "busy")
        await held[0].continue_()
        await says(frame, "Call", "answered")
        assert len(held) == len(posted) == len(emulator.ledger) == 1


async def test_nothing_is_asked_while_the_service_leads_on(emulator, page):
    """Until the next page is there a second click calls nobody: its answer would be lost with the page."""
    posted, held = [], []

    async def lead_on(request):
        posted.append(await request.json())
        raise web.HTTPSeeOther("/next")

    async def keep(route):
        if route.request.is_navigation_request():
            held.append(route)
        else:
            await route.continue_()

    await page.route("**/next", keep)
    pages = service(form_page(emulator.url, CALL, ("Hang", HangUpAction())), posted)
    async with site(pages | {"/result": lead_on, "/next": "<!doctype html><p>Next"}) as address:
        frame = await embedded(page, emulator, address)
        await frame.get_by_role("button", name="Call").click()
        await came(held, 1)
        await says(frame, "Call", "working")
        assert await frame.get_by_role("button", name="Call").is_disabled()
        await frame.get_by_role("button", name="Hang").click()
        await says(frame, "Hang", "busy")
        await held[0].continue_()
        await frame.get_by_text("Next").wait_for()
    assert [one.action for one in emulator.portal.asked] == ["call"]


async def test_a_call_without_an_answer_is_unknown_until_it_comes(emulator, page):
    """The agent and the service are told that it may have happened; its late answer is not taken for another's."""
    posted = []
    held = await hold(page)
    buttons = ((*CALL, 0.3), ("Which", CtiAction(), 0.3), ("Again", CALL[1]))
    async with site(service(form_page(emulator.url, *buttons), posted)) as address:
        frame = await embedded(page, emulator, address)
        await frame.get_by_role("button", name="Call").click()
        await says(frame, "Call", "unanswered")
        assert posted == [{"action": "call", "outcome": "unanswered", "data": None}]
        await frame.get_by_role("button", name="Again").click()
        await says(frame, "Again", "unsettled")
        await frame.get_by_role("button", name="Which").click()  # a read may be asked, and asked again
        await says(frame, "Which", "unanswered")
        await came(held, 2)
        await held[0].continue_()
        await says(frame, "Call", "answered")
        guid = emulator.portal.call.guid
        assert posted[2:] == [{"action": "call", "outcome": "answered", "data": {"guid": guid}}]
        await frame.get_by_role("button", name="Again").click()
        await says(frame, "Again", "working")
        await (await came(held, 3)).continue_()
        await says(frame, "Again", "answered")
        await held[1].fulfill(status=204)
    assert [result["data"] for result in posted[3:]] == [{"guid": emulator.portal.call.guid}]
    assert emulator.portal.call.guid != guid
    assert [one.action for one in emulator.portal.asked] == ["call", "call"]


async def test_what_the_portal_refuses_is_not_answered(page):
    """The page documents no answer to a refusal, so a refused call is unknown to the form, and nothing is applied."""
    async with Emulator(switches=Switches(campaigns=frozenset({"Sales->"}))) as emulator:
        posted = []
        async with site(service(form_page(emulator.url, CALL, seconds=0.3), posted)) as address:
            frame = await embedded(page, emulator, address)
            await frame.get_by_role("button", name="Call").click()
            await says(frame, "Call", "unanswered")
            await page.get_by_role("cell", name="refused").wait_for()
            await page.close()
        assert [result["outcome"] for result in posted] == ["unanswered"]
        assert "no such campaign" in emulator.portal.asked[0].refused
        assert len(emulator.ledger) == 0


async def test_an_answer_that_the_service_refuses_is_said(emulator, form, page):
    """Where the service takes no answer the agent is told that the portal has done it all the same."""
    frame = await embedded(page, emulator, form.url)
    form.url = "http://127.0.0.1:1"  # as if it were reached by another name than it knows
    await typed_call(frame, "Call")
    await says(frame, "Call", "not-taken")
    assert len(emulator.ledger) == 1
    assert "403" in page.complaints.pop()
    assert form.results == []


async def test_both_pages_fit_narrow_and_wide(emulator, form, page):
    """Neither page is wider than the window, whatever the call is named."""
    name = {"campaign": "Ventas " * 9 + "->", "destination": "9" * 24, "data": f"note={'x' * 300}"}
    emulator.state.respool(CallRecord(**name, dialerbase="b" * 60, contact=8, priority=2))
    emulator.portal.dial_next()
    frame = await embedded(page, emulator, form.url)
    await frame.get_by_role("button", name="Which call is this?").click()
    await frame.get_by_text("x" * 300).wait_for()
    for width in (400, 1200):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert await frame.evaluate(fits)


async def test_the_dialers_next_call_is_put_through(emulator, form, page):
    """The agent takes a contact off the spool by a click, and the form then knows it; numbers are masked."""
    await embedded(page, emulator, form.url)
    await page.get_by_text("No call yet.").wait_for()
    assert not await page.locator("#call").is_visible()
    await page.get_by_role("button", name="Next call of the dialer").click()
    await page.locator("#call").get_by_text("09900****").wait_for()
    assert emulator.portal.call.destination == "099000101"
    assert emulator.state.spool == []
    assert datetime.fromisoformat(emulator.portal.call.started)
    assert "099000101" not in await page.content()

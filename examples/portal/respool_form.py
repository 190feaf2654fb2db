"""A form for the agent portal, served by aiohttp.web: one click respools the contact of the agent's call.

Run it with PORTAL_ORIGIN and FORM_ORIGIN set (where the portal is, and where agents find this form), and UCONTACT_*.
"""

import os
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from aiohttp import web

from ucontact_async import InvalidRequest, Respool, UContact
from ucontact_async.portal import CtiAction, CtiReply, bridge_script, page_headers, read_result, render_action

PORTAL, FORM = os.environ["PORTAL_ORIGIN"], os.environ["FORM_ORIGIN"]
HEAD = '<!doctype html><title>Respool</title><link rel="icon" href="data:,"><script src="/bridge.js" defer></script>'
CLIENT = web.AppKey("client", UContact)
routes = web.RouteTableDef()


@routes.get("/")
async def page(_: web.Request) -> web.Response:
    """Show a button that asks the portal which call the agent has."""
    button = render_action(CtiAction(), "Respool", portal_origin=PORTAL, result_path="/result")
    return web.Response(text=HEAD + button, content_type="text/html", headers=page_headers(PORTAL))


@routes.get("/bridge.js")
async def bridge(_: web.Request) -> web.Response:
    """Serve the script that speaks with the portal."""
    return web.Response(text=bridge_script(), content_type="text/javascript")


@routes.post("/result")
async def result(request: web.Request) -> web.Response:
    """Respool the contact of that call; whoever may open the form may name any, so hold it against your own data."""
    try:
        told = read_result(await request.read(), request.headers, origin=FORM)
        if isinstance(told.reply, CtiReply):
            await request.app[CLIENT].send(Respool.from_cti(told.reply.cti.to_cti()))
    except InvalidRequest as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    return web.Response(status=204)


async def client(app: web.Application) -> AsyncIterator[None]:
    """Keep one client for the whole application."""
    async with UContact.from_env() as app[CLIENT]:
        yield


app = web.Application()
app.add_routes(routes)
app.cleanup_ctx.append(client)
web.run_app(app, host="127.0.0.1", port=urlsplit(FORM).port, print=None)

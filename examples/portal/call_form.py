"""A form for the agent portal, served by FastAPI: the agent types a number, the portal calls it, a note is tagged on.

Run it with PORTAL_ORIGIN and FORM_ORIGIN set: where the portal is, and where agents find this form.
"""

import os
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response

from ucontact_async import InvalidRequest
from ucontact_async.portal import (
    CallAction,
    GuidReply,
    TagAction,
    bridge_script,
    page_headers,
    read_result,
    render_action,
)

PORTAL, FORM = os.environ["PORTAL_ORIGIN"], os.environ["FORM_ORIGIN"]
HEAD = '<!doctype html><title>Call</title><link rel="icon" href="data:,"><script src="/bridge.js" defer></script>'
app = FastAPI()


@app.get("/")
async def page(guid: str = "") -> Response:
    """Show a button to call, and once there is a call, one to tag it; a guid in the address is checked as any input."""
    action = TagAction(guid=guid, message="") if guid else CallAction(campaign="Ventas->", destination="")
    label, inputs = ("Tag", {"message": "Note"}) if guid else ("Call", {"destination": "Number"})
    try:
        markup = render_action(action, label, portal_origin=PORTAL, result_path="/result", inputs=inputs)
    except InvalidRequest as error:
        raise HTTPException(400, str(error)) from None
    return Response(HEAD + markup, media_type="text/html", headers=page_headers(PORTAL))


@app.get("/bridge.js")
async def bridge() -> Response:
    """Serve the script that speaks with the portal."""
    return Response(bridge_script(), media_type="text/javascript")


@app.post("/result")
async def result(request: Request) -> Response:
    """Lead on to the call that was made."""
    try:
        told = read_result(await request.body(), request.headers, origin=FORM)
    except InvalidRequest as error:
        raise HTTPException(400, str(error)) from None
    if isinstance(told.reply, GuidReply):
        return Response(status_code=303, headers={"Location": f"/?guid={told.reply.guid}"})
    return Response(status_code=204)


uvicorn.run(app, host="127.0.0.1", port=urlsplit(FORM).port or 80, log_level="warning")

"""A service on aiohttp.web: it schedules calls, runs bulks in the background, and shows how they go.

``python aiohttp_service.py PORT`` with UCONTACT_URL, UCONTACT_USER, UCONTACT_PASSWORD and UCONTACT_TIMEZONE set.
"""

import sys
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
from aiohttp import web

from ucontact_async import InvalidRequest, ScheduledCall, Service, UContactError

T = TypeVar("T")
SERVICE = web.AppKey("SERVICE", Service)


async def lifespan(app: web.Application) -> AsyncIterator[None]:
    async with Service() as app[SERVICE]:
        yield


async def read(request: web.Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (InvalidRequest, msgspec.DecodeError) as error:
        raise web.HTTPBadRequest(text=str(error)) from None


async def schedule(request: web.Request) -> web.Response:
    call = await read(request, ScheduledCall)
    try:
        await request.app[SERVICE].client.send(call)
    except UContactError as error:
        may_ring = error.may_have_happened  # then it must not be sent again
        return web.json_response({"error": str(error), "may_ring": may_ring}, status=502)
    return web.json_response({"scheduled": True}, status=201)


async def start(request: web.Request) -> web.Response:
    service, name = request.app[SERVICE], request.match_info["name"]
    rows = await read(request, list[ScheduledCall])
    try:
        await service.start(name, service.client.stream(rows, journal=f"{name}.journal"))
    except UContactError as error:
        return web.json_response({"error": str(error)}, status=409)
    return web.json_response({"run": name}, status=202)


async def progress(request: web.Request) -> web.StreamResponse:
    run = request.app[SERVICE].runs.get(request.match_info["name"])
    if run is None:
        raise web.HTTPNotFound
    events = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await events.prepare(request)
    async for look in run.progress(every=0.5):
        await events.write(b"data: %b\n\n" % msgspec.json.encode(look))
    return events


app = web.Application(client_max_size=2**26)
app.cleanup_ctx.append(lifespan)
app.add_routes(
    [
        web.post("/calls", schedule),
        web.put(r"/runs/{name:[\w-]+}", start),  # a slash, which %2F is here, would lead out of the folder
        web.get("/runs/{name}", progress),
    ]
)
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))

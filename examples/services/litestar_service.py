"""A service on Litestar: it schedules calls, runs bulks in the background, and shows how they go.

``uvicorn litestar_service:app`` with UCONTACT_URL, UCONTACT_USER, UCONTACT_PASSWORD and UCONTACT_TIMEZONE set.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from litestar import Litestar, Request, Response, get, post, put
from litestar.datastructures import State
from litestar.exceptions import HTTPException, NotFoundException
from litestar.response import ServerSentEvent

from ucontact_async import ScheduledCall, Service, UContactError


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with Service() as app.state.service:
        yield


@post("/calls")
async def schedule(data: ScheduledCall, state: State) -> dict[str, bool]:
    await state.service.client.send(data)
    return {"scheduled": True}


@put("/runs/{name:str}", status_code=202, request_max_body_size=2**26)
async def start(name: str, data: list[ScheduledCall], state: State) -> dict[str, str]:
    service: Service = state.service
    try:
        await service.start(name, service.client.stream(data, journal=f"{name}.journal"))
    except UContactError as error:
        raise HTTPException(str(error), status_code=409) from None
    return {"run": name}


@get("/runs/{name:str}")
async def progress(name: str, state: State) -> ServerSentEvent:
    run = state.service.runs.get(name)
    if run is None:
        raise NotFoundException
    return ServerSentEvent(msgspec.json.encode(look) async for look in run.progress(every=0.5))


def refuse(_: Request, error: UContactError) -> Response:
    return Response({"error": str(error), "may_ring": error.may_have_happened}, status_code=502)


app = Litestar([schedule, start, progress], lifespan=[lifespan], exception_handlers={UContactError: refuse})

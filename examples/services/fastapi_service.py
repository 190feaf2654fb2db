"""A service on FastAPI (or Starlette): it schedules calls, runs bulks in the background, and shows how they go.

``uvicorn fastapi_service:app`` with UCONTACT_URL, UCONTACT_USER, UCONTACT_PASSWORD and UCONTACT_TIMEZONE set.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from ucontact_async import ScheduledCall, Service, UContactError


class Call(BaseModel):
    campaign: str
    destination: str
    calldate: datetime
    data: dict[str, str] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Service() as app.state.service:
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(UContactError)
async def refuse(_: Request, error: UContactError) -> JSONResponse:
    return JSONResponse({"error": str(error), "may_ring": error.may_have_happened}, status_code=502)


@app.post("/calls", status_code=201)
async def schedule(call: Call) -> dict[str, bool]:
    await app.state.service.client.dialers.schedule(**call.model_dump())
    return {"scheduled": True}


@app.put("/runs/{name}", status_code=202)
async def start(name: str, calls: list[Call]) -> dict[str, str]:
    service: Service = app.state.service
    rows = (ScheduledCall(**call.model_dump()) for call in calls)
    try:
        await service.start(name, service.client.stream(rows, journal=f"{name}.journal"))
    except UContactError as error:
        raise HTTPException(409, str(error)) from None
    return {"run": name}


@app.get("/runs/{name}")
async def progress(name: str) -> StreamingResponse:
    run = app.state.service.runs.get(name)
    if run is None:
        raise HTTPException(404)
    looks = (b"data: %b\n\n" % msgspec.json.encode(look) async for look in run.progress(every=0.5))
    return StreamingResponse(looks, media_type="text/event-stream")

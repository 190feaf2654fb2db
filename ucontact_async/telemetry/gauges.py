"""What the observed clients are doing at this moment, a server at a time: read when somebody asks, never before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from ..events import Event, EventBus, GateState, JournalLag
from ..observed import Observed

__all__ = ["Clients", "ServerGauges"]

_CLOSED: dict[GateState, int] = {"open": 0, "probing": 1, "closed": 2}


class ServerGauges(msgspec.Struct, frozen=True, kw_only=True):
    """All clients of one server together; a limiter that several of them share counts once.

    ``gate`` is the state of the one that is closed most.
    """

    address: str
    port: int
    server: str
    """Address and port together, as in a URL."""
    in_flight: int
    waiting: int
    max_concurrency: int
    gate: GateState
    lag: JournalLag


class Clients:
    """The clients that are observed now."""

    def __init__(self) -> None:
        self._clients: list[Observed] = []
        self._holders: Counter[EventBus] = Counter()  # what happens to a shared limiter happens once
        self._unsubscribe: dict[EventBus, Callable[[], None]] = {}

    def add(self, client: Observed, hear: Callable[[Event], None]) -> Callable[[], None]:
        """Look at ``client`` too and ``hear`` its events, until what is returned is called."""
        self._clients.append(client)
        for bus in client.buses:
            if not self._holders[bus]:
                self._unsubscribe[bus] = bus.subscribe(hear)
            self._holders[bus] += 1

        def end() -> None:
            self._clients.remove(client)
            for bus in client.buses:
                self._holders[bus] -= 1
                if not self._holders[bus]:
                    del self._holders[bus]
                    self._unsubscribe.pop(bus)()

        return end

    def look(self) -> list[ServerGauges]:
        """Return the gauges of every server."""
        servers: dict[str, list[Observed]] = {}
        for client in tuple(self._clients):
            servers.setdefault(client.server, []).append(client)
        return [*map(_together, servers.values())]


def _together(clients: list[Observed]) -> ServerGauges:
    stats = [client.stats() for client in {id(client.limiter): client for client in clients}.values()]
    lags = [client.lag() for client in clients]
    return ServerGauges(
        address=clients[0].address,
        port=clients[0].port,
        server=clients[0].server,
        in_flight=sum(one.in_flight for one in stats),
        waiting=sum(one.waiting for one in stats),
        max_concurrency=sum(one.max_concurrency for one in stats),
        gate=max((one.gate for one in stats), key=lambda state: _CLOSED[state]),
        lag=JournalLag(
            marked=sum(lag.marked for lag in lags),
            pending=sum(lag.pending for lag in lags),
            seconds=max(lag.seconds for lag in lags),
        ),
    )

"""The nine questions, asked of one server with a campaign and a number that are the user's own.

Whatever happens, what was put on the schedule is taken off again. A question that cannot be asked without harm, or
whose answer says nothing, is left open: then the careful answer holds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import msgspec

from ..api.calls import BlockNumber, Calls
from ..api.campaigns import Campaigns, GetQueueSummary
from ..api.dialers import Dialers, RemoveSchedule, ScheduledCall
from ..errors import SettingsError, UContactError
from ..settings import Settings
from ..wire import Answer, page_of
from .findings import Finding
from .rings import Ring, Rings
from .server import CloseServer, header

__all__ = ["BURST", "Probe", "ProbeOptions"]

BURST = 32
_OPEN = "not asked"


class ProbeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to call and how long to wait; seconds.

    ``lead`` is how far ahead the first of four calls is, ``spacing`` is between them. ``ring`` off: no call is made.
    ``idle`` is how long an idle connection is watched. ``block``: put the number on the campaign's do-not-call list,
    from which the API cannot take it. ``lateness`` is what you know of the server and is taken over.
    """

    campaign: str
    number: str
    lead: float = 90.0
    spacing: float = 60.0
    idle: float = 20.0
    ring: bool = True
    block: bool = False
    lateness: float | None = None


class Probe:
    """Asks, and cleans up."""

    def __init__(
        self,
        settings: Settings,
        options: ProbeOptions,
        *,
        say: Callable[[str], None],
        ask: Callable[[str], Awaitable[bool | None]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """``ask`` asks a person who has the phone; raises :class:`SettingsError` without the server's time zone."""
        if settings.timezone is None:
            raise SettingsError("the server's time zone is not known; set UCONTACT_TIMEZONE or give --timezone")
        self._zone = settings.timezone
        self._settings = settings
        self._options = options
        self._say = say
        self._ask = ask
        self._now = now
        self._sleep = sleep
        self.server = CloseServer(settings)
        self.findings: list[Finding] = []
        self.clean = True
        """Whether all that was scheduled has been removed, as far as the answers say."""
        self._far = self._local() + timedelta(days=30)

    async def run(self) -> list[Finding]:
        """Ask all nine; raises one of our errors if the server cannot be reached or the login is refused."""
        try:
            if self.server.token is None:
                await self.server.log_in()
            await self._question(4, self._overload)
            await self._question(1, self._answers_of_removals)
            rings = self._rings()
            if rings is not None:
                self._say("planting four calls, of which two are removed at once")
                await rings.plant()
            await self._question(3, self._sessions)
            await self._question(6, self._connections)
            await self._question(8, self._twice)
            if rings is not None:
                await self._question(1, lambda: self._judge(rings))
            else:
                self._found(2, f"{_OPEN}: no call was to be made")
                self._found(7, f"{_OPEN}: no call was to be made")
            self._one_second()
            self._lateness()
            self._bytes()
        finally:
            with anyio.CancelScope(shield=True):
                await self._clean_up()
        return self.findings

    def _found(self, number: int, answer: str, settings: dict[str, bool | float | str] | None = None) -> None:
        self.findings.append(Finding(number, answer, settings or {}))
        self._say(f"{number}. {answer}")

    async def _question(self, number: int, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
        except UContactError as error:
            self._found(number, f"no answer: {error}")

    def _local(self) -> datetime:
        return self._now().astimezone(self._zone).replace(tzinfo=None, microsecond=0)

    def _rings(self) -> Rings | None:
        options = self._options
        if not options.ring:
            return None
        first = self._local() + timedelta(seconds=options.lead)
        self._planted = Rings(
            self.server, campaign=options.campaign, number=options.number, first=first, spacing=options.spacing
        )
        return self._planted

    _planted: Rings | None = None
    _answered: bool | None = None
    _left = False
    _rang: bool | None = None

    async def _answers_of_removals(self) -> None:
        """A server that answers 0 where nothing was there tells by that what it removed."""
        options = self._options
        second = self._far
        removal = RemoveSchedule(campaign=options.campaign, destination=options.number, since=second, until=second)
        call = ScheduledCall(campaign=options.campaign, destination=options.number, calldate=second)
        nothing = _text(await self.server.post(Dialers.remove_schedule, removal))
        self._left = True
        try:
            await self.server.ask(Dialers.schedule, call)
        except UContactError as error:
            self._left = error.may_have_happened
            raise
        something = _text(await self.server.post(Dialers.remove_schedule, removal))
        again = _text(await self.server.post(Dialers.remove_schedule, removal))
        self._left = "1" not in (something, again)
        told = f"nothing there: {nothing!r}; a call of that second: {something!r}; once more: {again!r}"
        if nothing == again == "0" and something in ("0", "1"):
            self._answered = something == "1"
            self._found(1, told, {"refuses_empty_removal": True})
        else:
            self._found(1, f"{told}; the answers do not tell what was removed")

    async def _judge(self, rings: Rings) -> None:
        seconds = (rings.end - self._local()).total_seconds()
        self._say(f"waiting {max(0, seconds):.0f} s for the calls; please answer the phone")
        await self._sleep(max(0.0, seconds))
        verdict = await rings.look()
        if self._ask is not None and not any(ring.records for ring in rings.rings):
            for ring in rings.rings:
                ring.records = await self._heard(ring)
            verdict = rings.judge(data=verdict.data)
        self._rang = verdict.calls
        for number, covers in ((1, verdict.calls), (2, verdict.tasks)):
            told = verdict.why if covers is not None else f"the calls do not tell ({verdict.why})"
            self._found(number, told, {"removes_tasks": covers} if number == 2 and covers is not None else {})
        self._found(2, f"tasks for an agent (mode 4): {_OPEN}: they ring at once")
        self._found(7, {True: "yes", False: "no", None: "there is no record to look at"}[verdict.data])

    def _one_second(self) -> None:
        """Take what answers and calls say of a removal together: where they differ, the careful one counts."""
        said = [each for each in (self._answered, self._rang) if each is not None]
        if said:
            self._found(1, "so it does" if all(said) else "so it does not", {"removes_one_second": all(said)})

    async def _heard(self, ring: Ring) -> int:
        assert self._ask is not None
        return int(bool(await self._ask(f"Did the phone ring at {ring.at:%H:%M:%S}, by the server's clock?")))

    async def _sessions(self) -> None:
        first = self.server.token
        if self._settings.token is not None or first is None:
            self._found(3, f"{_OPEN}: a token was given, and is not ended")
            return
        second = await self.server.log_in()
        try:
            answer = await self.server.post(Campaigns.summary, GetQueueSummary(), token=first)
            lives = answer.status == 200 and answer.body.lstrip().startswith(b"[")
            await self.server.end(second)
            ended = await self.server.post(Campaigns.summary, GetQueueSummary(), token=second)
        finally:
            await self.server.log_in()
        said = f"a second login {'leaves the first token alive' if lives else 'ends the first token'}; "
        location = header(ended, "Location")
        settings: dict[str, bool | float | str] = {}
        if ended.status in (302, 303) and (page := page_of(location)):
            settings = {"login_page": page}
        dead = f"HTTP {ended.status}" + (f" to {location}" if location else "")
        if ended.status == 200:
            dead += ", a page" if ended.body.lstrip().startswith(b"<") else ", as if it lived"
        self._found(3, f"{said}one that has ended is answered {dead}", settings)

    async def _overload(self) -> None:
        began = [self.server.post(Campaigns.summary, GetQueueSummary()) for _ in range(BURST)]
        answers = await asyncio.gather(*began, return_exceptions=True)
        seen: Counter[str] = Counter()
        for answer in answers:
            if isinstance(answer, Answer):
                said = [
                    f"{name} {value}" for name in ("Retry-After", "Server", "Via") if (value := header(answer, name))
                ]
                seen[", ".join([f"HTTP {answer.status}", *said])] += 1
            elif isinstance(answer, UContactError):
                seen[type(answer).__name__] += 1
            else:
                raise answer
        told = "; ".join(f"{count} x {what}" for what, count in seen.most_common())
        self._found(4, f"{BURST} reads at once were answered {told}")

    def _lateness(self) -> None:
        told = f"the slowest answer took {self.server.slowest:.2f} s, which is no bound; ask who runs the server"
        if self._options.lateness is None:
            self._found(5, told)
        else:
            self._found(5, f"{self._options.lateness:g} s were given; {told}", {"lateness": self._options.lateness})

    async def _connections(self) -> None:
        seconds = await self.server.idle_seconds(self._options.idle)
        idle = f"longer than {self._options.idle:g} s" if seconds is None else f"after {seconds:.1f} s"
        continues = "answered" if await self.server.continues(min(self._options.idle, 5.0)) else "not answered"
        cookies = "are sent, and not needed" if self.server.cookies else "are not sent"
        self._found(6, f"an idle connection lives: {idle}; 100-continue is {continues}; cookies {cookies}")

    async def _twice(self) -> None:
        if not self._options.block:
            self._found(8, f"addblack: {_OPEN}: the API cannot take a number off the do-not-call list (--block)")
        else:
            number = BlockNumber(phone=self._options.number, campaign=self._options.campaign)
            first, second = [_text(await self.server.post(Calls.block, number)) for _ in range(2)]
            self._found(8, f"addblack of the same number is answered {first!r} and then {second!r}")
        self._found(8, f"uploads: {_OPEN}: the API shows no list and deletes none; look in the portal")

    def _bytes(self) -> None:
        told = [
            f"{endpoint}: HTTP {status}, {kind}, {body!r}"
            for endpoint, status, kind, body in sorted(self.server.answers)
            if body.strip() in (b"0", b"1")
        ]
        self._found(9, "; ".join(told) or "none was seen")

    async def _clean_up(self) -> None:
        options = self._options
        far = RemoveSchedule(
            campaign=options.campaign,
            destination=options.number,
            since=self._far - timedelta(seconds=1),
            until=self._far + timedelta(seconds=1),
        )
        # 0 is a refusal; where something is left to be removed it does not say that nothing is.
        removals = [(far, ("1",) if self._left else ("0", "1"))]
        if self._planted is not None:
            removals.append((self._planted.removal, ("0", "1")))
        if self.server.token is not None:
            for removal, done in removals:
                if not await self._removed(removal, done):
                    self.clean = False
                    self._say(
                        f"NOT CLEANED UP: look at the scheduled calls of {options.campaign} from {removal.since} to "
                        f"{removal.until}"
                    )
            if self._planted is not None and self._local() < self._planted.end:
                self._say("if this server does not remove tasks, up to two calls will still ring")
        await self.server.aclose()

    async def _removed(self, removal: RemoveSchedule, done: tuple[str, ...]) -> bool:
        for _ in range(3):  # it may be repeated
            try:
                answer = await self.server.post(Dialers.remove_schedule, removal)
                if _text(answer) in done:
                    return True
                if self._settings.token is None:
                    await self.server.log_in()
            except UContactError:
                continue
        return False


def _text(answer: Answer) -> str:
    return answer.body[:32].decode("ascii", "replace").strip() if answer.status == 200 else f"HTTP {answer.status}"

"""When which fault strikes; pure.

It decides and never acts: what a fault does to a connection is the server's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from random import Random
from typing import Annotated, Any, Literal

import msgspec

from ..errors import SettingsError

__all__ = ["NO_FAULT", "Chosen", "FaultKind", "Faults", "Rule"]

FaultKind = Literal[
    "latency",
    "refuse",
    "close_before_read",
    "reset_before_read",
    "close_after_read",
    "reset_after_read",
    "close_after_apply",
    "reset_after_apply",
    "hang_before_apply",
    "hang_after_apply",
    "status",
    "body",
    "truncated",
    "unsolicited",
    "late_apply",
]

_SECONDS: dict[str, float] = {"refuse": 1.0, "late_apply": 1.0}
_APPLIED = {"close_after_apply", "reset_after_apply", "hang_after_apply", "truncated", "unsolicited"}
_UNREAD = {"refuse", "close_before_read", "reset_before_read"}
_GARBAGE = "<html><body><h1>Service temporarily unavailable</h1></body></html>"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Whole = Annotated[int, msgspec.Meta(ge=0)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault, and the requests it strikes.

    ``endpoint`` is a pattern (``*``, ``?``, ``[...]``) for the path after ``/Integra/resources/``, ``match`` holds one
    for each wire field that has to be there. Of the requests that match, the first ``after`` are left alone, at most
    ``count`` are struck, each with ``probability``.

    ==================  ============================================================================================
    latency             waits ``seconds`` before anything else is done with the request
    refuse              the port refuses connections for ``seconds`` (1); this one is reset, other open ones stay
    close_before_read   ends the connection before the body is read; ``reset_`` does it with RST
    close_after_read    ends it when the request was read; ``reset_`` with RST
    close_after_apply   ends it when the effect was applied; ``reset_`` with RST
    hang_before_apply   never answers and never applies, until the client leaves; ``hang_after_apply`` applies first
    status              answers ``status`` (503) with ``headers`` and ``body``; applies only if ``apply``
    body                answers 200 with ``body`` (HTML), and applies, unless ``apply`` is false or the body is ``0``
    truncated           applies, announces more than it sends, and ends the connection
    unsolicited         applies and answers, then sends ``seconds`` (0) later a second answer, 200 with ``body`` (1)
    late_apply          never answers, applies ``seconds`` (1) later; the connection ends at once, or then if ``hold``
    ==================  ============================================================================================

    A rule with ``match`` needs the body, so its ``_before_read`` faults strike after it: the request is neither
    applied nor counted as read all the same.
    """

    fault: FaultKind
    endpoint: str = "*"
    match: dict[str, str] = {}
    seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    count: Whole | None = None
    after: Whole = 0
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 503
    headers: dict[str, str] = {}
    body: str | None = None
    apply: bool | None = None
    hold: bool = False

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name) or any(ord(character) < 32 for character in value):
                raise ValueError("headers: not a name and a value on one line")

    @property
    def delay(self) -> float:
        """How many seconds the fault lasts."""
        return _SECONDS.get(self.fault, 0.0) if self.seconds is None else self.seconds

    @property
    def unread(self) -> bool:
        """Whether the fault strikes before the body is read."""
        return self.fault in _UNREAD

    @property
    def applies(self) -> bool:
        """Whether the effect of a request that is struck is applied, before the fault strikes."""
        if self.fault == "status":
            return bool(self.apply)
        if self.fault == "body":
            return self.apply if self.apply is not None else self.text.strip() != "0"
        return self.fault in _APPLIED

    @property
    def text(self) -> str:
        """The body that the fault sends."""
        if self.body is not None:
            return self.body
        return {"body": _GARBAGE, "unsolicited": "1"}.get(self.fault, "")


class Chosen(msgspec.Struct, frozen=True):
    """What strikes one request: so many seconds of latency, then at most one other fault."""

    latency: float = 0.0
    rule: Rule | None = None


NO_FAULT = Chosen()


class Faults:
    """The rules in their order, and how often each has struck."""

    def __init__(self, rules: Sequence[Rule] = (), *, seed: int = 1) -> None:
        """Every rule draws its own chances from ``seed``, so that one more rule changes nothing for the others."""
        self._rules = [_Counted(rule, Random(f"{seed}:{index}")) for index, rule in enumerate(rules)]  # noqa: S311

    @classmethod
    def read(cls, source: bytes | str | Mapping[str, Any]) -> Faults:
        """Read a rule file, or what it holds; raise :class:`SettingsError` naming the rule and the key."""
        try:
            held = source if isinstance(source, Mapping) else msgspec.json.decode(source)
            document = msgspec.convert(held, _Document)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise SettingsError(f"faults: {error}") from None
        rules = []
        for index, rule in enumerate(document.rules):
            try:
                rules.append(msgspec.convert(rule, Rule))
            except msgspec.ValidationError as error:
                raise SettingsError(f"faults: rule {index}: {error}") from None
        return cls(rules, seed=document.seed)

    @property
    def struck(self) -> list[tuple[Rule, int]]:
        """The rules, each with how many requests it has struck."""
        return [(counted.rule, counted.struck) for counted in self._rules]

    def reads_fields(self, endpoint: str) -> bool:
        """Return whether it takes the fields of a request to ``endpoint`` to choose."""
        return any(counted.rule.match and counted.on_endpoint(endpoint) for counted in self._rules)

    def choose(self, endpoint: str, fields: Mapping[str, Any]) -> Chosen:
        """Return what strikes this request: the latencies of all rules that do, then the first other fault."""
        latency, chosen = 0.0, None
        for counted in self._rules:
            latent = counted.rule.fault == "latency"
            if not counted.matches(endpoint, fields) or (chosen is not None and not latent) or not counted.strikes():
                continue
            if latent:
                latency += counted.rule.delay
            else:
                chosen = counted.rule
        return Chosen(latency, chosen) if latency or chosen else NO_FAULT


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    rules: list[Any]
    seed: int = 1


class _Counted:
    """One rule with its memory."""

    def __init__(self, rule: Rule, chance: Random) -> None:
        self.rule = rule
        self.on_endpoint: Callable[[str], object] = re.compile(translate(rule.endpoint)).match
        self._patterns = [(name, re.compile(translate(pattern)).match) for name, pattern in rule.match.items()]
        self._chance = chance
        self._seen = 0
        self.struck = 0

    def matches(self, endpoint: str, fields: Mapping[str, Any]) -> bool:
        if not self.on_endpoint(endpoint):
            return False
        if any(name not in fields or not match(_wire_text(fields[name])) for name, match in self._patterns):
            return False
        self._seen += 1
        return True

    def strikes(self) -> bool:
        rule = self.rule
        if self._seen <= rule.after or (rule.count is not None and self.struck >= rule.count):
            return False
        if rule.probability < 1 and self._chance.random() >= rule.probability:
            return False
        self.struck += 1
        return True


def _wire_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

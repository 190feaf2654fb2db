"""Journal transition x fault kind: which changes of a row were made once which kind of fault had struck.

A row's status is changed by ``Journal.sent``, ``planned`` and ``settled``, and where ``JournalFile`` opens what a dead
run left. ``skipped``, ``undone`` and what a person resolves have no part in this: no request is on its way then.
"""

from .faults import BETWEEN, EARLY, KINDS, PROCESS
from .rows import REFUSED

CHANGES = (
    "planned > sent",
    "sent > succeeded",
    "sent > refused",
    "sent > failed",
    "sent > unknown",
    "sent > unknown at start",
    "sent > planned",
    "planned > failed",
    "failed > sent",
    "unknown > sent",
    "sent > sent",
    "succeeded > unknown",
    "failed > unknown",
)
"""That from sent to sent is of a call that was removed and is being inserted again; the last two take a word back."""


def change_of(old, new, reason, *, opening):
    """Name a change of status; ``opening``: made where a run begins, of what a dead one left."""
    if new == "failed" and reason in REFUSED:
        new = "refused"
    if (old, new) == ("planned", "refused"):  # it was the login that was
        new = "failed"
    if (old, new) == ("planned", "unknown"):  # a removal between two tries
        old = "sent"
    return f"{old} > {new}{' at start' if opening else ''}"


_HARMLESS = {
    "nothing",
    "connect_slow",
    "unframed_applied",
    "chunks",
    "early_hints",
    "slow",
    *EARLY,
    *BETWEEN,
    *({*PROCESS} - {"restart", "outage"}),
}
_NO_SURPLUS = {*KINDS} - {"extra_answer", "extra_answer_and_close"}
_WHY_NOT = "no connection gives an answer too many, or it says of itself that it is none"
NEVER = {
    "succeeded > unknown": (_NO_SURPLUS, _WHY_NOT),
    "failed > unknown": (_NO_SURPLUS, _WHY_NOT),
    "sent > failed": (
        {*KINDS} - {"token_dies", "redirect_to_login"},
        "only a token refused twice fails a row that was marked; what else says no waits until a read is answered",
    ),
    "planned > failed": (_HARMLESS, "it fails by its login, which this does no harm"),
    "sent > unknown": ({"disk_full"}, "it cannot be written until there is room again, and then nothing is wrong"),
    "sent > planned": ({"disk_full"}, "it cannot be written until there is room again, and then nothing is wrong"),
}


def why_never(change, kind):
    """Return why ``change`` cannot follow ``kind``, ``None`` if it can."""
    kinds, why = NEVER.get(change, (set(), ""))
    return why if kind in kinds else None


def possible(kind):
    """Return the changes that can follow ``kind``."""
    return {change for change in CHANGES if why_never(change, kind) is None}


def show(cells, kinds, say):
    """Say how often each cell was met, and why the others cannot be; return how many are not as they should be."""
    say("runs in which a row went so, once that kind of fault had struck:")
    for number, change in enumerate(CHANGES, 1):
        say(f"  {number:>2} {change}")
    say(f"{'kind':<32}" + "".join(f"{number:>7}" for number in range(1, len(CHANGES) + 1)))
    wrong = [f"{change} is not known here" for change in {change for change, _ in cells} - {*CHANGES}]
    for kind in kinds:
        counts = [cells.get((change, kind), 0) for change in CHANGES]
        shown = [
            str(count) if count else "-" if why_never(change, kind) else "NONE"
            for change, count in zip(CHANGES, counts, strict=True)
        ]
        say(f"{kind:<32}" + "".join(f"{text:>7}" for text in shown))
        wrong += [
            f"{change} {'follows' if count else 'never followed'} {kind}"
            for change, count in zip(CHANGES, counts, strict=True)
            if bool(count) == (why_never(change, kind) is not None)
        ]
    for change, (never, why) in NEVER.items():
        say(f"- {change}: {why} ({len(never & {*kinds})} kinds)")
    for sentence in wrong:
        say(f"WRONG {sentence}")
    met = sum((change, kind) in cells for change in CHANGES for kind in kinds)
    say(f"{met} of {sum(len(possible(kind)) for kind in kinds)} cells that can be were met")
    return len(wrong)

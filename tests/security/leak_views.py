"""Where a secret may come to light: every way to look at an error, at a log record, at a value and at a file.

It looks and finds; what is done to make things go wrong is ``leak_paths.py``'s business. Frames of the tests
themselves are left out of tracebacks: who hands over a number has it in a variable.
"""

import contextlib
import copy
import io
import logging
import pickle
import traceback
import warnings
from collections import Counter
from pathlib import Path

# Made up. Their shapes are those of the real ones: a token is base64 of a user and a UUID, a number has nine digits.
TOKEN = "Y2FuYXJ5OnRva2VuLTdmM2E5YzFl"
PASSWORD = "canary-password-9c1e"
PHONE = "099318275"
OTHER_PHONE = "098164937"
PERSON = "canary-zoraida"
SECRETS = (TOKEN, PASSWORD)
# The masked form shows all but the last four digits.
PERSONAL = (PHONE[-7:], OTHER_PHONE[-7:], PERSON)

VIEWS = (
    "str",
    "repr",
    "traceback with locals",
    "copy",
    "pickle",
    "debug logs",
    "report",
    "values",
    "output",
    "rejects file",
    "journal",
    "metrics",
)
# What is meant to hold numbers: the rows that are to be fed back in, and the journal that an undo goes by.
HOLDS_NUMBERS = {"rejects file", "journal"}
_TESTS = str(Path(__file__).parent.parent)

EXPORTERS = []
"""Called with nothing, each returns as text what a program would export as metrics."""


class Observed:
    """What was looked at on one path: ``texts`` counts by view, ``leaks`` says in which view which canary was seen."""

    def __init__(self, name):
        """``name`` is the path's."""
        self.name = name
        self.texts = Counter()
        self.leaks = []
        self.errors = []

    def look(self, view, text, *, numbers_too=None):
        """Search ``text``, which ``view`` shows."""
        self.texts[view] += 1
        if numbers_too is None:
            numbers_too = view not in HOLDS_NUMBERS
        for canary in (*SECRETS, *(PERSONAL if numbers_too else ())):
            at = text.find(canary)
            if at >= 0:
                self.leaks.append(f"{self.name}: {view}: {canary!r} in ...{text[max(0, at - 160) : at + 60]!r}")

    def error(self, error):
        """Look at ``error`` and everything that hangs on it, in every way that there is."""
        self.errors.append(error)
        for part in _whole(error):
            self.look("str", str(part))
            self.look("repr", f"{part!r} {part.args!r} {vars(part)!r}")
            told = traceback.TracebackException.from_exception(part, capture_locals=True)
            self.look("traceback with locals", "".join(_shown(told)))
            self._copied("copy", lambda part=part: repr(copy.copy(part)) + repr(vars(copy.copy(part))))
            # The error of a run carries its report, and that the rows themselves, to be sent on.
            if not hasattr(part, "report"):
                self._copied("pickle", lambda part=part: pickle.dumps(part).decode("latin-1"))

    def value(self, *values):
        """Look at what a program holds, and at all it may do with it."""
        for value in values:
            self.look("values", f"{value!r} {value}")
            self._copied("copy", lambda value=value: repr(copy.copy(value)))

    def report(self, report):
        """Look at the report of a run, as a person or a log would."""
        self.look("report", f"{report!r} {report} {report.summary()} {report.reasons!r}")
        for outcome in report.problems:
            # Its row and its request show themselves masked.
            self.look("report", f"{outcome!r} {outcome.detail} {outcome.reason} {outcome.error!r}")
            if outcome.error is not None:
                self.error(outcome.error)

    def files(self, view, *paths):
        """Look at the bytes of files."""
        for path in paths:
            for file in [path, *path.parent.glob(f"{path.name}-*")] if path.exists() else ():
                self.look(view, file.read_bytes().decode("latin-1"))

    def _copied(self, view, make):
        # What refuses to be copied or pickled gives nothing away.
        with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
            self.look(view, make())


def _whole(error):
    """Return ``error``, its causes and contexts, and the members of groups."""
    seen, left = {}, [error]
    while left:
        part = left.pop()
        if part is None or id(part) in seen:
            continue
        seen[id(part)] = part
        left += [part.__cause__, part.__context__, *getattr(part, "exceptions", ())]
    return list(seen.values())


def _shown(told):
    yield from told.format_exception_only()
    for frame in told.stack:
        if not frame.filename.startswith(_TESTS):
            yield f"{frame.filename}:{frame.lineno} {frame.line}\n"
            yield "\n".join(f"{name} = {value}" for name, value in (frame.locals or {}).items())


class _Records(logging.Handler):
    def __init__(self, observed):
        super().__init__(logging.DEBUG)
        self._observed = observed

    def emit(self, record):
        self._observed.look("debug logs", f"{record.name} {record.getMessage()} {record.args!r}")
        if record.exc_info and record.exc_info[1] is not None:
            self._observed.error(record.exc_info[1])


@contextlib.contextmanager
def watched(observed):
    """Take down all that is logged, at every level, all that is printed and all that is warned of, meanwhile."""
    root, handler = logging.getLogger(), _Records(observed)
    before = root.level
    out, err = io.StringIO(), io.StringIO()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(out):
            warnings.simplefilter("always")
            with contextlib.redirect_stderr(err):
                yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        observed.look("output", out.getvalue() + err.getvalue())
        for warning in warned:
            observed.look("output", str(warning.message))
        for export in EXPORTERS:
            observed.look("metrics", export())

"""The command line: any words, and what the options of a run make of them."""

import contextlib
import io
import shlex
from importlib.resources import files
from types import SimpleNamespace

from ucontact_async.batch.options import BulkOptions
from ucontact_async.cli import _parser, recordings, unknown
from ucontact_async.cli.bulk import _number, _options, pace_of
from ucontact_async.cli.emulator import run as run_emulator
from ucontact_async.cli.language import Catalogue
from ucontact_async.errors import SettingsError, UContactError
from ucontact_async.limiter import Limiter
from ucontact_async.pace import Pace

from .target import Draw, Target, expect, text_of

COMMANDS = ("schedule", "respool", "task", "remove", "dnc", "upload", "undo", "unknown", "recordings", "emulator")
COMMANDS += ("report", "status", "demo", "probe", "doctor", "fleet", "contract", "completion", "portal-demo", "")
PARSER = _parser()
WORDS = tuple(
    shlex.split("""
    rows.csv --campaign Ventas-> --map destination=Telefono --sheet s --journal j --no-journal --max-concurrency 8 auto
    --max-per-second 1.5 --max-failures 1% --max-unknown 3 --max-unknown-jump 2 --on-duplicate skip --dry-run --amended
    --settle-after 700 --settle-margin --mode now add --set a=failed --from --since 2027-05-05 --until --folder
    --port 0 --rows 5 -h --help --version -- - -1 nan inf 1e400 09912345
    """)
)


def command_line(data: bytes) -> None:
    """Words that a shell could hand over: usage, or options that a run takes or refuses with a sentence."""
    draw = Draw(data)
    words = [draw.choice(COMMANDS), *(draw.text(WORDS).replace("\0", "") for _ in range(draw.byte() % 10))]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            args = PARSER.parse_args(words)
        except SystemExit as ended:
            expect(ended.code in (0, 2), f"exit {ended.code!r}")
            return
    _look(args)


def _look(args) -> None:
    if hasattr(args, "operation"):
        number = _number(args)
        args.no_journal = args.no_journal or (number is not None and args.journal is None)
        _options(args, f"task-{args.mode}" if args.operation == "task" else args.operation)
    if hasattr(args, "set"):
        args.answers = None
        unknown.answers_of(args)
    if args.run is recordings.run:
        recordings._moment(args.since, "since")
    if args.run is run_emulator:
        expect(isinstance(args.port, int), "a port that is no number")


def options_of_a_run(data: bytes) -> None:
    """The numbers of a run, as texts and as numbers."""
    draw = Draw(data)
    texts = SimpleNamespace(
        max_concurrency=draw.text(("auto", "8", "0")),
        max_per_second=None,
        max_failures=draw.text(("1%", "5", "0.5%")),
        max_unknown=draw.number(),
        max_unknown_jump=draw.number() / 3,
        retry_refused=False,
    )
    pace = pace_of(texts)
    allowed = BulkOptions(**pace).failures_allowed(1000)
    expect(allowed >= 0, "fewer failures than none")
    rate = draw.choice((draw.number(), draw.number() / 7, float("nan"), float("inf"), 5e-324))
    Pace(rate)
    Limiter(max_concurrency=pace["max_concurrency"], max_per_second=rate)


def told_in_spanish(data: bytes) -> None:
    """A sentence on its way out, in which anything of a file may stand."""
    catalogue = SPANISH
    told = catalogue.find(text_of(data))
    expect(told is None or "{" not in told or b"{" in data, "a place that is not filled")


SPANISH = Catalogue(files("ucontact_async.cli").joinpath("es.po").read_text(encoding="utf-8"))
_SETTLING = bytes([COMMANDS.index("unknown"), 3]) + b"\x01j\x05--set\x08a=failed"
_REFUSED = (SettingsError,)

TARGETS = (
    Target(
        "command line",
        command_line,
        (*(bytes([n, 5, *range(192 + n, 198 + n)]) for n in range(len(COMMANDS))), b"\x00\x01\x01.", _SETTLING),
        (UContactError,),
        slow=True,
    ),
    Target(
        "told in Spanish",
        told_in_spanish,
        (
            b"--map a=: the file has no column 'b' but c, d",
            *(english.encode() for english in list(SPANISH.sentences)[::40]),
            b"a: b, c; d (e) " * 200,
            b"not sent: " * 300,
        ),
        slow=True,
    ),
    Target("options of a run", options_of_a_run, (b"\xc0\xc0\x20\x30\x30\x30\x00", b"\x018\x035.%"), _REFUSED),
)

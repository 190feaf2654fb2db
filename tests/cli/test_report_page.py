"""The page about a run, and the view that a terminal shows while it goes on."""

import io
import json
import stat
from datetime import datetime
from html.parser import HTMLParser
from importlib.util import find_spec
from urllib.request import Request, urlopen

import pytest

from ucontact_async import Progress, ScheduledCall, SettingsError, open_journal
from ucontact_async.batch.history import History
from ucontact_async.batch.outcome import Outcome, Status
from ucontact_async.batch.report import Report
from ucontact_async.batch.sources import Row
from ucontact_async.cli.language import spoken
from ucontact_async.cli.progress import ProgressLine, view_of
from ucontact_async.limiter import LimiterStats

HOSTILE = "</style><script>alert(1)</script>\"'&\u202e"
STATS = LimiterStats(
    in_flight=3,
    waiting=0,
    max_concurrency=8,
    gate_seconds=12.0,
    gate="closed",
    phase="steady",
    base_latency=None,
    rate=None,
)
needs_charts = pytest.mark.skipif(
    find_spec("matplotlib") is None,
    reason="matplotlib is not installed: python -m pip install matplotlib",
)


def problem(number, status=Status.UNKNOWN, detail="it broke"):
    request = ScheduledCall(campaign="Ventas->", destination="090000001", calldate=datetime(2099, 5, 5))
    row = Row(number, {"destination": "090000001"})
    return Outcome(index=number, status=status, request=request, row=row, reason="ReplyLost", detail=detail)


def run_of(*problems, succeeded=50):
    report, history = Report(succeeded=succeeded), History()
    for outcome in problems:
        report.add(outcome)
    for second in range(1, 5):
        history.note(Outcome(index=0, status=Status.SUCCEEDED, seconds=0.1 * second), 4)
        history.sample(float(second), report, STATS)
    report.close(4.0)
    return report, history


def seen(report):
    return Progress(
        state="running",
        rows=report.rows,
        succeeded=report.succeeded,
        failed=report.failed,
        unknown=report.unknown,
        skipped=report.skipped,
        in_flight=3,
        waiting=0,
        max_concurrency=8,
        gate="closed",
        gate_seconds=12.0,
        seconds=4.0,
    )


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.said = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):  # noqa: D102  the parser's own name
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data):  # noqa: D102  the same
        self.said.append(data)


@needs_charts
def test_a_page_is_whole_and_harmless():
    """Counts, charts, unknown rows and where to look are in it; no script, no other address, and no number."""
    from ucontact_async.cli.report_page import page_of

    report, history = run_of(problem(17, detail=HOSTILE), problem(18, Status.FAILED))
    text = page_of(report, history, {"input": HOSTILE})
    page = Page(text)
    said = " ".join(page.said)
    for expected in (
        "52 rows",
        " 17 ReplyLost ",
        " 18 ",
        "ReplyLost",
        "the dialer's scheduled calls",
        "some rows are not done",
    ):
        assert expected in said
    assert "script" not in page.tags
    assert text.count("<svg") == 3
    assert all(address.startswith("#") for address in page.addresses)
    assert "090000001" not in text
    assert "\u202e" not in text


@needs_charts
def test_a_page_is_for_its_owner_and_never_over_another(tmp_path):
    """The file is new and private; one that is there already, or cannot be, is refused before anything is sent."""
    from ucontact_async.cli.report_page import check_page, write_page

    path = tmp_path / "run.html"
    check_page(path)
    write_page(path, *run_of(), {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(SettingsError, match="is there already"):
        check_page(path)
    with pytest.raises(SettingsError, match="does not exist; create it"):
        check_page(tmp_path / "nowhere" / "run.html")


class Terminal(io.StringIO):
    """A terminal, as far as a program can ask."""

    def isatty(self):  # noqa: D102  the file's own name
        return True


def test_a_dumb_terminal_gets_a_line(monkeypatch):
    """Where a screen cannot be redrawn there is one line, and in a pipe nothing."""
    monkeypatch.setenv("TERM", "dumb")
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        view = view_of(100, stream)
        assert isinstance(view, ProgressLine)
        view.note(problem(50))
        view.show(seen(run_of(problem(50))[0]))
        view.close()
    assert "50%" in terminal.getvalue()
    assert "50 succeeded  0 failed  1 unknown" in terminal.getvalue()
    assert pipe.getvalue() == ""
    with spoken("es"):
        view_of(100, terminal).show(seen(run_of(problem(50))[0]))
    assert "50 exitosas  0 fallidas  1 desconocidas  0 omitidas  ..." in terminal.getvalue()


@pytest.mark.parametrize("width", [40, 100])
def test_a_terminal_is_redrawn(monkeypatch, width):
    """The view has the counts, the pace, what the server needs and the last problems, in the width that there is."""
    pytest.importorskip("rich", reason="rich is not installed: python -m pip install rich")
    from rich.console import Console

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    view = view_of(100, terminal)
    assert not isinstance(view, ProgressLine)
    report, _ = run_of(problem(40), problem(50, Status.FAILED))
    for outcome in report.problems:
        view.note(outcome)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True)
    console.print(view.drawing(seen(report), width))
    said = console.file.getvalue()
    for expected in ("50%", "50 succeeded", "1 failed", "1 unknown", "3 of 8 on the wire", "row 40", "row 50"):
        assert expected in said
    assert "12 s" in said
    with spoken("es"):
        view.note(problem(60, detail="the consumer left"))
        console.print(view.drawing(seen(report), width))
    said = console.file.getvalue().removeprefix(said)
    for expected in ("faltan ", "50 exitosas", "1 fallidas", "filas/s, 3 de 8 en curso", "descansa 12 s"):
        assert expected in said
    assert "fila 60 desconocida: " in said
    assert max(map(len, said.splitlines())) <= width
    view.show(seen(report))
    view.close()
    assert "50 succeeded" in terminal.getvalue()
    assert "\x1b[3" not in terminal.getvalue()


def test_a_journal_is_reported(schedule, url, tmp_path, capsys):
    """Counts, reasons and times come from the journal alone, with the page; the exit code says what is left to do."""
    from ucontact_async.cli import main

    ask = Request(
        f"{url}/_emulator/faults",
        data=json.dumps(
            {"rules": [{"endpoint": "Dialers/*", "match": {"destination": "*2"}, "fault": "body"}]}
        ).encode(),
        method="PUT",
    )
    file = tmp_path / "c.csv"
    file.write_text("destination;calldate\n" + "".join(f"09000000{n};2099-05-05 10:00\n" for n in range(1, 5)), "utf-8")
    assert schedule(file, "--dry-run") == 0
    urlopen(ask, timeout=10).close()
    assert schedule(file) == 3
    capsys.readouterr()
    page = tmp_path / "j.html"
    extra = [] if find_spec("matplotlib") is None else ["--html", str(page)]
    assert main(["report", f"{file}.journal", *extra]) == 3
    said = capsys.readouterr()
    assert "4 rows: 3 succeeded, 0 failed, 1 unknown, 0 skipped" in said.out
    assert "operation: schedule" in said.out
    assert "ucontact-async unknown" in said.err
    if extra:
        assert "<td>3</td>" in page.read_text("utf-8")
    with open_journal(f"{file}.journal") as journal:
        (row,) = journal.unknown()
        journal.resolve(row.key, "succeeded")
    assert main(["report", f"{file}.journal"]) == 0
    assert main(["report", str(tmp_path / "none")]) == 2

"""One HTML page about a run, complete in itself: no script, no network. matplotlib (extra ``report``) draws its charts.

It shows no phone number and no form data: rows go by their line in the input.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import errors
from ..api import endpoint_of
from ..batch.history import History, Sample
from ..batch.outcome import Outcome, Status
from ..batch.remedies import remedy_of
from ..batch.report import Report
from ..errors import SettingsError
from ..text import printable
from .language import language, translated

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_page", "page_of", "write_page"]

# Unknown and failed rows that are named; all of them are in the rejects file.
_NAMED = 200
# What a chart is drawn in where it shall have the colour of the text around it.
_INK = "#010203"
_BLUE, _ORANGE, _RED = "#3b82d6", "#d97a1e", "#d64545"


def check_page(path: Path) -> None:
    """Raise :class:`SettingsError` where a page could not be written in the end."""
    if find_spec("matplotlib") is None:
        raise SettingsError("--html draws charts: python -m pip install 'ucontact-async[report]'")
    if path.exists():
        raise SettingsError(f"{path} is there already; give --html another name, or remove it")
    if not path.parent.is_dir():
        raise SettingsError(f"the directory of {path} does not exist; create it")


def write_page(path: Path, report: Report, history: History, facts: dict[str, str]) -> None:
    """Write the page of a run to a new file, for its owner only."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(page_of(report, history, facts))


def page_of(report: Report, history: History, facts: dict[str, str]) -> str:
    """Return the page of a run; ``facts`` are lines about it, such as its file and its server."""
    style = files("ucontact_async.cli").joinpath("report.css").read_text(encoding="utf-8")
    state = report.stopped and f"stopped early: {report.stopped}"
    verdict = translated(state or ("complete" if report.complete else "some rows are not done"))
    rows = translated(f"{report.rows:,} rows")
    body = [
        f"<header><h1>{rows}</h1><p class='{'good' if report.complete else 'bad'}'>{escape(verdict)}</p>",
        f"</header>{_subject(facts)}",
        f"<ul class='counts'>{''.join(_tile(report, status.value) for status in Status)}</ul>",
        _charts(history.samples),
        _reasons(report),
        _unknown(report),
        _failed(report),
        _facts(report, facts),
    ]
    return (
        f"<!doctype html>\n<html lang='{language()}'><head><meta charset='utf-8'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{rows}, {escape(verdict)}</title><style>{style}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _subject(facts: dict[str, str]) -> str:
    told = [translated(printable(facts[name], 120)) for name in ("operation", "input") if name in facts]
    return f"<p class='note'>{escape(', '.join(told))}</p>" if told else ""


def _tile(report: Report, status: str) -> str:
    count: int = getattr(report, status)
    return f"<li class='{status if count else 'none'}'><b>{count:,}</b> {translated(status)}</li>"


def _section(title: str, content: str, note: str = "") -> str:
    said = f"<p class='note'>{_prose(note)}</p>" if note else ""
    return f"<section><h2>{escape(translated(title))}</h2>{said}{content}</section>" if content else ""


def _prose(text: str) -> str:
    """Return a sentence as HTML; what stands between backticks is something to type."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(translated(text)))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(translated(heading))}</th>" for heading in headings)
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    return f"<div class='wide'><table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table></div>"


def _reasons(report: Report) -> str:
    found = sorted(report.reasons.items(), key=lambda item: -item[1])
    rows = [
        (f"{count:,}", translated(status), translated(reason), translated(meaning_of(reason)))
        for (status, reason), count in found
    ]
    columns = 4 if any(meaning for *_, meaning in rows) else 3
    headings = ("Rows", "Outcome", "Reason", "What it means")[:columns]
    return _section("What did not succeed", _table(headings, [row[:columns] for row in rows]))


def meaning_of(reason: str) -> str:
    """Return the sentence that says what an error of that name means; nothing for another reason."""
    error = getattr(errors, reason, None)
    return (error.__doc__ or "").partition("\n")[0].replace("`", "") if isinstance(error, type) else ""


def _unknown(report: Report) -> str:
    unknown = [outcome for outcome in report.problems if outcome.status is Status.UNKNOWN]
    looks = {outcome.request and endpoint_of(outcome.request).path: None for outcome in unknown}
    asked = "".join(f"<li>{_prose(remedy_of(path).look)}</li>" for path in looks if path)
    table = _named(unknown)
    note = (
        "These may ring, and are never sent again by themselves. Look where it says, then settle them with "
        "`ucontact-async unknown`."
    )
    return _section(f"Unknown: {report.unknown:,} rows", table and f"<ul>{asked}</ul>{table}", note)


def _failed(report: Report) -> str:
    failed = [outcome for outcome in report.problems if outcome.status is Status.FAILED]
    more = f"The first {_NAMED} of {report.failed:,}." if report.failed > _NAMED else ""
    return _section(f"Failed: {report.failed:,} rows", _named(failed), more)


def _named(outcomes: Sequence[Outcome]) -> str:
    lines = [
        (
            str(outcome.row.number) if outcome.row is not None else translated(outcome.position),
            translated(outcome.reason),
            translated(printable(outcome.detail, 300)),
        )
        for outcome in outcomes[:_NAMED]
    ]
    columns = 3 if any(detail for *_, detail in lines) else 2
    return _table(("Row", "Reason", "What happened")[:columns], [line[:columns] for line in lines])


def _facts(report: Report, facts: dict[str, str]) -> str:
    told = {**facts, "length": f"{report.seconds:.1f} s", "lane": report.lane or "-"}
    told["written"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    lines = (
        f"<dt>{escape(translated(name))}</dt><dd>{escape(printable(value, 300))}</dd>" for name, value in told.items()
    )
    return _section("The run", f"<dl>{''.join(lines)}</dl>")


def _charts(samples: Sequence[Sample]) -> str:
    if len(samples) < 2:
        return ""

    def rate(axes: Axes) -> None:
        ends = [(0.0, 0), *((sample.seconds, sample.rows) for sample in samples)]
        at = [seconds for seconds, _ in ends]
        rates = [(rows - before) / max(end - start, 1e-6) for (start, before), (end, rows) in pairwise(ends)]
        axes.fill_between(at, [rates[0], *rates], step="pre", color=_BLUE, alpha=0.25, linewidth=0)
        axes.step(at, [rates[0], *rates], where="pre", color=_BLUE)

    def times(axes: Axes) -> None:
        known = [sample for sample in samples if sample.median is not None and sample.slow is not None]
        at = [sample.seconds for sample in known]
        axes.plot(at, [(sample.slow or 0) * 1000 for sample in known], color=_ORANGE, label="95 of 100 rows below")
        axes.plot(
            at,
            [(sample.median or 0) * 1000 for sample in known],
            color=_BLUE,
            label="half of the rows below",
        )

    def wire(axes: Axes) -> None:
        at = [sample.seconds for sample in samples]
        axes.step(at, [sample.max_concurrency for sample in samples], where="post", color=_ORANGE, label="limit")
        axes.step(at, [sample.in_flight for sample in samples], where="post", color=_BLUE, label="on the wire")

    timed = any(sample.median is not None for sample in samples)
    watched = any(sample.max_concurrency for sample in samples)
    drawn = (
        ("Rows a second", rate, True),
        ("Milliseconds a row, waiting included", times, timed),
        ("Calls on the wire, and how many may be", wire, watched),
    )
    charts = (
        f"<figure><figcaption>{translated(title)}</figcaption>{_chart(draw, samples)}</figure>"
        for title, draw, known in drawn
        if known
    )
    closed = "Red: the server was given a rest." if any(sample.closed for sample in samples) else ""
    return _section("Over time", f"<div class='charts'>{''.join(charts)}</div>", closed)


def _chart(draw: Callable[[Axes], None], samples: Sequence[Sample]) -> str:
    """Return the SVG of one chart over the seconds of a run."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ink = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)
    settings: Any = {**ink, "svg.fonttype": "none", "svg.hashsalt": "ucontact", "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(4.6, 2.5), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        before = samples[0].seconds
        for sample in samples:
            if sample.closed:
                axes.axvspan(before, sample.seconds, color=_RED, alpha=0.2, linewidth=0)
            before = sample.seconds
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, samples[-1].seconds)
        axes.set_xlabel(translated("seconds"))
        axes.grid(axis="y", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        lines, labels = axes.get_legend_handles_labels()
        if lines:
            place: Any = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2}
            axes.legend(lines, [translated(label) for label in labels], frameon=False, fontsize="small", **place)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")

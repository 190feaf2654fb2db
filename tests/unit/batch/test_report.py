"""The report: four counts that add up, and a file of what is left to do that can be fed back in."""

import csv
import os
import stat
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.batch.operations import OPERATIONS, plan
from ucontact_async.batch.outcome import Outcome, Status, status_of
from ucontact_async.batch.report import KEPT, Rejects, Report
from ucontact_async.batch.sources import CsvSource, Row
from ucontact_async.errors import BulkError, InvalidRequest, NotSent, Rejected, ReplyLost, Throttled

COLUMNS = ("destination", "calldate", "data.name")


def outcome(status=Status.FAILED, *, index=0, reason="Rejected", **more):
    return Outcome(index=index, status=status, reason="" if status is Status.SUCCEEDED else reason, **more)


def row(number, *cells):
    return Row(number, dict(zip(COLUMNS, cells, strict=True)))


@pytest.fixture
def rejects(tmp_path):
    return Rejects(tmp_path / "contacts.csv.rejects.csv", COLUMNS)


# The counts.


@given(st.lists(st.tuples(st.sampled_from(Status), st.sampled_from(["done before", "duplicate", "late", "ReplyLost"]))))
def test_the_counts_add_up(found):
    """Every outcome is in exactly one of four counts, and every one that did not succeed has its reason counted."""
    report = Report()
    for index, (status, reason) in enumerate(found):
        report.add(outcome(status, index=index, reason=reason))
    assert report.rows == len(found) == report.succeeded + report.failed + report.unknown + report.skipped
    assert report.reasons.total() == report.rows - report.succeeded
    for status in Status:
        assert getattr(report, status) == sum(found_status is status for found_status, _ in found)


@given(st.lists(st.tuples(st.sampled_from(Status), st.booleans(), st.booleans())))
def test_many_are_counted_as_one_by_one(found):
    """Counting a block of outcomes comes to the same as counting each, settled and amended ones included."""
    first = outcome(Status.SUCCEEDED, index=-1)
    outcomes = [
        outcome(status, index=index, settled=settled, amends=first if amends else None)
        for index, (status, settled, amends) in enumerate(found)
    ]
    one_by_one, at_once = Report(), Report()
    for each in outcomes:
        one_by_one.add(each)
    at_once.add_all(outcomes)
    assert at_once == one_by_one


@pytest.mark.parametrize(
    ("outcomes", "complete"),
    [
        ([], True),
        ([outcome(Status.SUCCEEDED)], True),
        ([outcome(Status.SKIPPED, reason="done before")], True),
        ([outcome(Status.SKIPPED, reason="dry run")], True),
        ([outcome(Status.SKIPPED, reason="duplicate")], False),
        ([outcome(Status.SKIPPED, reason="invalid")], False),
        ([outcome(Status.SUCCEEDED), outcome(Status.FAILED)], False),
        ([outcome(Status.SUCCEEDED), outcome(Status.UNKNOWN, reason="ReplyLost")], False),
    ],
)
def test_complete_means_nothing_is_wanting(outcomes, complete):
    """What an earlier run did counts as done; what failed, is unknown or was left out does not."""
    report = Report()
    for each in outcomes:
        report.add(each)
    assert report.complete is complete
    if complete:
        assert report.raise_for_status() is report
    else:
        with pytest.raises(BulkError) as raised:
            report.raise_for_status()
        assert raised.value.report is report
        assert raised.value.may_have_happened is (report.unknown > 0)


def test_skipping_duplicates_on_purpose_leaves_nothing_wanting():
    """With ``on_duplicate="skip"`` a duplicate is as good as done."""
    report = Report(accepted=frozenset({"done before", "duplicate"}))
    report.add(outcome(Status.SKIPPED, reason="duplicate"))
    assert report.complete
    assert report.problems == []


def test_a_run_that_was_stopped_is_not_complete():
    """Rows that were never read are in no count, so the reason to stop must tell."""
    report = Report(stopped="interrupted")
    report.add(outcome(Status.SUCCEEDED))
    with pytest.raises(BulkError, match="1 rows: 1 succeeded, 0 failed, 0 unknown, 0 skipped; stopped: interrupted"):
        report.raise_for_status()


def test_memory_is_bounded():
    """The report keeps the first problems to look at and counts the rest."""
    report = Report()
    for index in range(KEPT + 50):
        report.add(outcome(index=index))
        report.add(outcome(Status.SUCCEEDED, index=index))
    assert [problem.index for problem in report.problems] == list(range(KEPT))
    assert report.failed == KEPT + 50


def test_what_this_run_found_out_is_counted_apart():
    """The fuses look at this run only: unknown rows of earlier runs must not stop every resumption."""
    report = Report()
    for _ in range(30):
        report.add(outcome(Status.UNKNOWN, reason="ReplyLost", earlier=True))
    counts = report.judge(outcome(Status.UNKNOWN, reason="ReplyLost"))
    report.judge(outcome(Status.FAILED))
    assert (counts.rows, counts.unknown, counts.failed) == (2, 1, 1)
    assert (report.unknown, report.failed) == (30, 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ReplyLost("no answer", phase="sent"), Status.UNKNOWN),
        (NotSent("no connection"), Status.FAILED),
        (Rejected("0", status=200), Status.FAILED),
        (Throttled("wait", status=429), Status.FAILED),
    ],
)
def test_failed_means_surely_not_applied(error, status):
    """An error of which nobody knows whether it happened is never counted as a failure."""
    assert status_of(error) is status
    assert error.may_have_happened is (status is Status.UNKNOWN)


def test_an_outcome_says_where_its_row_stands():
    """People are told the line of their file, programs the place in their input."""
    assert outcome(index=4, row=row(6, "090000001", "", "")).position == "row 6"
    assert outcome(index=4).position == "request 4"


# The file of what is left to do.


def test_the_rejects_open_by_double_click(rejects):
    """UTF-8 with a byte order mark, semicolons, the file's own columns first, then row, outcome and reason."""
    rejects.add(outcome(Status.UNKNOWN, row=row(3, "090000001", "", "Ñandú"), reason="ReplyLost", detail="no answer"))
    rejects.add(outcome(Status.SKIPPED, row=row(5, "090000002", "", 'a;"b"'), reason="duplicate"))
    rejects.close()
    content = rejects.path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbfdestination;calldate;data.name;row;outcome;reason\r\n")
    with rejects.path.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file, delimiter=";"))[1:] == [
            ["'090000001", "", "Ñandú", "3", "unknown", "no answer"],
            ["'090000002", "", 'a;"b"', "5", "duplicate", "duplicate"],
        ]
    assert rejects.rows == 2


CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12) | st.sampled_from(
    [
        "=1+1",
        "'=1",
        "''",
        "'",
        "+598",
        "-5",
        "@SUM(A1)",
        "\t=1",
        "\r\n=1",
        "1/2",
        "098344484",
        "'098",
        "ñ",
        "\uff15",
        " 09",
    ]
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from(["=calldate", "'x", "data.7"]))
def test_rejects_come_back_exactly_and_no_spreadsheet_computes_with_them(tmp_path_factory, lines, column):
    """Whatever the cells hold they are read again as they were, and in the file none begins as a formula or number."""
    path = tmp_path_factory.mktemp("rejects") / "r.csv"
    columns = ("destination", column)
    rejects = Rejects(path, columns)
    for number, cells in enumerate(lines, 2):
        rejects.add(outcome(row=Row(number, dict(zip(columns, cells, strict=True))), detail="-1"))
    rejects.close()
    again = [list(row.fields.values()) for row in CsvSource(path)]
    assert [fields[:2] for fields in again] == [list(cells) for cells in lines]
    assert {fields[4] for fields in again} == {"-1"}
    with path.open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.reader(file, delimiter=";"))
    harmless = [cell[:1] in ("", "'") or cell[0].isalpha() for line in written for cell in (*line[:2], *line[3:])]
    assert all(harmless)


def test_a_refused_number_cell_does_not_come_back_as_text(rejects):
    """What was refused for being a quantity is refused again until somebody writes it anew."""
    typed = {"destination": "cell A2 holds a number", "data.name": "cell C2 holds a number"}
    bad = Row(2, {"destination": "98344484", "calldate": "", "data.name": "7"}, typed=typed)
    rejects.add(outcome(row=bad, error=InvalidRequest("destination", "cell A2 holds a number"), reason="invalid"))
    rejects.close()
    assert [[*row.fields.values()][:3] for row in CsvSource(rejects.path)] == [["98344484.0", "", "7"]]


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: file modes")
def test_the_rejects_are_for_their_owner_only(rejects):
    """They hold telephone numbers: 0600 whatever the umask, also where an older file could be read by all."""
    rejects.path.write_text("of an earlier run")
    rejects.path.chmod(0o644)
    before = os.umask(0)
    try:
        rejects.add(outcome(row=row(2, "090000001", "", "")))
    finally:
        os.umask(before)
    rejects.close()
    assert stat.S_IMODE(rejects.path.stat().st_mode) == 0o600
    assert "earlier" not in rejects.path.read_text()


def test_without_rejects_there_is_no_file(rejects):
    """The file of an earlier run is taken away when nothing is left to do, for it would be mistaken for news."""
    rejects.path.write_text("of an earlier run")
    rejects.close()
    assert not rejects.path.exists()


def test_an_outcome_without_a_row_is_no_reject(rejects):
    """Requests that came from no file have no line to be fed back."""
    rejects.add(outcome())
    rejects.close()
    assert rejects.rows == 0
    assert not rejects.path.exists()


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(found=st.lists(st.tuples(CELLS, CELLS, CELLS).filter(lambda cells: any(map(str.strip, cells))), min_size=1))
def test_rejects_can_be_fed_back_in(tmp_path_factory, found):
    """Whatever the cells hold - separators, quotes, line ends, formulas - they come back as they were."""
    rejects = Rejects(tmp_path_factory.mktemp("rejects") / "rejects.csv", COLUMNS)
    for number, cells in enumerate(found, 2):
        rejects.add(outcome(row=row(number, *cells), detail="the server said 0"))
    rejects.close()
    source = CsvSource(rejects.path)
    assert source.columns == (*COLUMNS, "row", "outcome", "reason")
    again = list(source)
    assert [tuple(each.fields.values())[:3] for each in again] == found
    assert [each.fields["row"] for each in again] == [str(number) for number in range(2, len(found) + 2)]


def test_rejects_of_rejects_have_each_column_once(tmp_path):
    """Feeding back twice names the columns once; ``row`` is then the line of the file that was fed back."""
    path = tmp_path / "rejects.csv"
    columns = COLUMNS
    for number in (7, 2):
        rejects = Rejects(path, columns)
        rejects.add(outcome(row=row(number, "090000001", "2027-03-01 10:00", "x")))
        rejects.close()
        columns = CsvSource(path).columns
    assert columns == (*COLUMNS, "row", "outcome", "reason")
    assert next(iter(CsvSource(path))).fields["row"] == "2"


def test_a_mended_reject_becomes_its_request(rejects):
    """The added columns are ours: they are neither ignored aloud nor sent."""
    error = InvalidRequest("destination", "is not a number")
    rejects.add(outcome(Status.SKIPPED, row=row(2, "09O", "2027-03-01 10:00", "Ana"), reason="invalid", error=error))
    rejects.close()
    rejects.path.write_text(rejects.path.read_text(encoding="utf-8-sig").replace("09O", "090000001"))
    source = CsvSource(rejects.path)
    planned = plan(source.columns, OPERATIONS["schedule"], campaign="Ventas->")
    assert planned.ignored == ()
    request = planned.request(next(iter(source)))
    assert (request.destination, request.calldate) == ("090000001", datetime(2027, 3, 1, 10))
    assert request.data == {"name": "Ana"}


# What is taken back.


@pytest.mark.parametrize(
    ("first", "judged"),
    [(outcome(Status.SUCCEEDED, index=1, settled=True), 0), (outcome(Status.FAILED, index=1), 1)],
    ids=["succeeded", "failed"],
)
def test_an_amended_outcome_takes_the_place_of_the_first(first, judged):
    """The four counts still add up to the rows, and nothing of the first outcome is left."""
    report = Report()
    for each in (outcome(Status.SUCCEEDED), first):
        report.add(each)
        report.judge(each)
    assert report.judged.failed == judged
    second = outcome(Status.UNKNOWN, index=1, reason="desync", amends=first)
    report.add(second)
    report.judge(second)
    assert (report.rows, report.succeeded, report.failed, report.unknown, report.settled) == (2, 1, 0, 1, 0)
    assert report.reasons == {("unknown", "desync"): 1}
    assert report.problems == [second]
    assert (report.judged.rows, report.judged.failed, report.judged.unknown) == (2, 0, 1)


def test_a_row_that_was_taken_back_stands_in_the_file_once(rejects):
    """What was written of a row before its last word is not fed back in beside it."""
    rows = [row(number, f"09900000{number}", "2099-05-05 10:00", "Ana") for number in (2, 3, 4)]
    first = [outcome(index=index, row=each) for index, each in enumerate(rows)]
    for each in first:
        rejects.add(each)
    rejects.add(outcome(Status.UNKNOWN, index=1, row=rows[1], reason="desync", amends=first[1]))
    rejects.close()
    with rejects.path.open(encoding="utf-8-sig") as file:
        lines = list(csv.reader(file, delimiter=";"))
    assert [line[3:] for line in lines[1:]] == [
        ["2", "failed", "Rejected"],
        ["4", "failed", "Rejected"],
        ["3", "unknown", "desync"],
    ]
    assert rejects.rows == 3

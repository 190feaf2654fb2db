"""What became of a row: the status that each error stands for, and how the row is named for people."""

import msgspec
import pytest

from ucontact_async import errors
from ucontact_async.batch.outcome import DESYNC, REFUSED, Outcome, Status, doubtful, status_of
from ucontact_async.batch.sources import Row

KINDS = [getattr(errors, name) for name in errors.__all__ if name != "BulkError"]  # that one is of a whole run


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_unknown_where_it_may_have_happened(kind):
    """``failed`` is a promise that nothing was done: each error stands for the status that its one fact demands."""
    error = kind.__new__(kind)
    assert status_of(error) is (Status.UNKNOWN if error.may_have_happened else Status.FAILED)


def test_what_only_a_word_of_the_user_sends_again():
    """A refusal is final, unless it was of a token or of the pace: those say nothing about the row."""
    passing = (errors.Unauthorized, errors.Throttled)
    refusals = {kind for kind in KINDS if issubclass(kind, errors.Refused) and not issubclass(kind, passing)}
    assert {kind.__name__ for kind in refusals} == REFUSED


@pytest.mark.parametrize(
    ("row", "position"), [(Row(17, {"destination": "099123456"}), "row 17"), (None, "request 4")], ids=["file", "input"]
)
def test_where_a_row_stands(row, position):
    """People find it by its line in the file, and without a file by its place in the input."""
    assert Outcome(index=4, status=Status.UNKNOWN, row=row).position == position


def test_an_outcome_in_doubt():
    """What was said of a row is unknown then, without reply and error; what was unknown stays as it is."""
    said = Outcome(index=3, status=Status.SUCCEEDED, key="k", reply="guid", attempts=2)
    why = "its connection gave an answer too many: the one it got may be that of another call"
    assert doubtful(said) == Outcome(index=3, status=Status.UNKNOWN, key="k", reason=DESYNC, detail=why, attempts=2)
    refused = msgspec.structs.replace(
        said, status=Status.FAILED, reply=None, error=errors.NotSent("no"), reason="NotSent"
    )
    assert doubtful(refused) == doubtful(said)
    lost = msgspec.structs.replace(said, status=Status.UNKNOWN, reason="ReplyLost")
    assert doubtful(lost) is lost

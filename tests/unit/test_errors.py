"""Every exception: its place in the tree, the one fact it carries, and its way through pickle and copy."""

import copy
import inspect
import pickle

import pytest

from ucontact_async import errors


class Books:
    """What a :class:`BulkError` carries, as far as it looks into it."""

    unknown = 2

    def __eq__(self, other):
        return isinstance(other, Books)

    __hash__ = None


ERRORS = [
    errors.UContactError("something"),
    errors.SettingsError("give a user"),
    errors.InvalidRequest("destination", "is empty"),
    errors.Blocked("window", "mon 21:00 is outside the calling windows"),
    errors.Blocked("do not call", "row 3: do not call", rows={3: "do not call"}),
    errors.NotSent("connection refused"),
    errors.NotSent("too late", transient=False),
    errors.Refused("HTTP 405", status=405),
    errors.Unauthorized("no such user", status=401),
    errors.SessionStolen("two tokens died", status=401),
    errors.Forbidden("not allowed", status=403),
    errors.NotFound("no such endpoint", status=404),
    errors.Throttled("slow down", status=429),
    errors.Throttled("slow down", status=503, retry_after=7.5),
    errors.Rejected("answered 0", status=200),
    errors.OutcomeUnknown("lost", phase="sent"),
    errors.ReplyLost("connection reset", phase="answered"),
    errors.ServerFault("HTTP 500", status=500),
    errors.UnreadableReply("HTML", status=200),
    errors.UnreadableReply("noise"),
    errors.JournalError("disk full"),
    errors.JournalBusy("another run"),
    errors.JournalMismatch("another file"),
    errors.BulkError("2 unknown", Books()),
]
FACTS = {
    errors.InvalidRequest: {"field", "reason"},
    errors.Blocked: {"field", "reason", "rule", "rows"},
    errors.NotSent: {"reason", "transient"},
    errors.Refused: {"status"},
    errors.Throttled: {"status", "retry_after"},
    errors.OutcomeUnknown: {"phase"},
    errors.ServerFault: {"status", "phase"},
    errors.UnreadableReply: {"status", "phase"},
    errors.BulkError: {"report", "may_have_happened"},
}
CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, Exception)]


def name_of(value):
    """Name a test after the class it is about."""
    return (value if isinstance(value, type) else type(value)).__name__


def test_every_error_has_an_example_here():
    """The lists of this file leave no exception out, and all of them are exported."""
    assert {type(error) for error in ERRORS} == set(CLASSES)
    assert {cls.__name__ for cls in CLASSES} == set(errors.__all__)


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
@pytest.mark.parametrize(
    "clone", [*(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(6)), copy.copy, copy.deepcopy]
)
def test_a_copy_carries_everything(error, clone):
    """Class, text and every fact survive pickle at each protocol, and both kinds of copy."""
    error = copy.copy(error)
    error.endpoint, error.attempts = "Dialers/Respool", 3
    error.add_note("row 17")
    twin = clone(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert twin.args == error.args
    assert vars(twin) == vars(error)
    assert (twin.endpoint, twin.attempts, twin.__notes__) == ("Dialers/Respool", 3, ["row 17"])


def test_a_copy_has_a_traceback_of_its_own():
    """One failed login is raised by many waiters: their copies share no traceback."""
    error = errors.NotSent("refused")
    with pytest.raises(errors.NotSent) as caught:
        raise copy.copy(error)
    assert caught.value is not error
    assert error.__traceback__ is None


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_the_facts_of_an_error(error):
    """Each class carries exactly the facts that it is documented to carry, over the two that all have."""
    expected = next((FACTS[cls] for cls in type(error).__mro__ if cls in FACTS), set())
    assert set(vars(error)) == expected
    assert (error.endpoint, error.attempts) == ("", 0)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not errors.BulkError], ids=name_of)
def test_only_the_unknown_may_have_happened(cls):
    """The split by consequence: a doubt for OutcomeUnknown and its kind, a promise for everything else."""
    assert cls.may_have_happened is issubclass(cls, errors.OutcomeUnknown)


@pytest.mark.parametrize("cls", CLASSES, ids=name_of)
def test_one_root(cls):
    """One ``except UContactError`` catches all; none hides among the built-in errors that libraries swallow."""
    assert issubclass(cls, errors.UContactError)
    assert not issubclass(cls, ValueError | TypeError | LookupError | OSError | RuntimeError)


@pytest.mark.parametrize("cls", CLASSES, ids=name_of)
def test_every_error_says_what_it_means(cls):
    """Each class has a docstring of its own."""
    assert cls.__doc__
    assert cls.__doc__ not in {base.__doc__ for base in cls.__mro__[1:]}


@pytest.mark.parametrize(
    ("cls", "parent"),
    [
        (errors.SessionStolen, errors.Unauthorized),
        (errors.Unauthorized, errors.Refused),
        (errors.Forbidden, errors.Refused),
        (errors.NotFound, errors.Refused),
        (errors.Throttled, errors.Refused),
        (errors.Rejected, errors.Refused),
        (errors.ReplyLost, errors.OutcomeUnknown),
        (errors.ServerFault, errors.OutcomeUnknown),
        (errors.UnreadableReply, errors.OutcomeUnknown),
        (errors.JournalBusy, errors.JournalError),
        (errors.JournalMismatch, errors.JournalError),
    ],
    ids=name_of,
)
def test_the_tree(cls, parent):
    """Who is caught by whom."""
    assert parent in cls.__bases__


def test_certain_and_uncertain_are_apart():
    """No error is both a certain no and an unknown outcome."""
    certain = (errors.NotSent, errors.Refused, errors.InvalidRequest, errors.SettingsError, errors.JournalError)
    assert not any(issubclass(cls, errors.OutcomeUnknown) and issubclass(cls, certain) for cls in CLASSES)


def test_an_invalid_request_names_its_field_first():
    """The text begins with the field, so that a list of such errors can be read downwards."""
    error = errors.InvalidRequest("data.id", "holds a line break")
    assert str(error) == "data.id: holds a line break"


def test_a_bulk_error_tells_whether_there_are_doubts():
    """Whether any row may have happened is at hand without opening the report."""
    assert errors.BulkError("stopped", Books()).may_have_happened is True


def test_no_message_forges_a_line():
    """A line break, a terminal's command or a reversed reading in what an error quotes is shown escaped."""
    error = errors.SettingsError("the column 'a\n2027 OK\x1b[2J\u202e' is none")
    assert str(error) == r"the column 'a\n2027 OK\x1b[2J\u202e' is none"
    assert error.args == ("the column 'a\n2027 OK\x1b[2J\u202e' is none",)

"""Every record that the library logs has fields for programs, under names of its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ucontact_async"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# The loggers are plain ones, but where one word says what all records of a module are about.
ADAPTED = {"lane.py"}


def calls(tree):
    """Yield each call that logs."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "_log"
        ):
            yield node


def loggers(tree):
    """Yield what each name ``_log`` is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_log":
            yield ast.unparse(node.value)


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if "_log" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_record_has_fields(path):
    """No call that logs goes without ``extra``, unless its logger gives every record some."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for logger in loggers(tree):
        assert ("LoggerAdapter" in logger and "ucontact_event" in logger) is (path.name in ADAPTED)
    for call in calls(tree):
        assert path.name in ADAPTED or "extra" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)


def test_the_files_that_log_are_found():
    """The test above looks at more than nothing."""
    assert sum(len(list(calls(ast.parse(path.read_text(encoding="utf-8"))))) for path in FILES) >= 14

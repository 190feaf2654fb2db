"""S1 and S12: what is secret or personal is in no view of any failure."""

import importlib.util
import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from leak_paths import PATHS
from leak_views import PASSWORD, PHONE, TOKEN, Observed
from leaks import observe

from ucontact_async import Secret, SettingsError, UContact
from ucontact_async.errors import bare

# What waits for a time-out or tries again is for the whole run: `python -m tests.security.leaks`.
SLOW = (
    "silen",
    "no TLS",
    "out of reach",
    "fleet init",
    "redirect",
    "gave up",
    "login, ",
    "no such host",
    "recording, ",
)
# Answers that stand whole in the variables of who reads them.
HARD = ("too long an answer", "no HTTP", "a page instead of an answer")
NEEDS = {"database": "psycopg", "fleet": "psycopg", "certificate": "trustme"}


def quick():
    """Return about half of the paths: those that wait for nothing, each kind among them."""
    names = [name for name in PATHS if not any(word in name for word in SLOW) and "session lane" not in name]
    answers = [f"a call answered by {what}, {lane} lane" for what in HARD for lane in ("command", "session")]
    others = ["a login, refused", "a recording, not there", "a recording, forbidden"]
    return list(dict.fromkeys([*names[::2], *answers, *others]))


def missing(name):
    """Return what must be installed for a path and is not."""
    needed = [module for word, module in NEEDS.items() if word in name]
    return next((module for module in needed if importlib.util.find_spec(module) is None), None)


@pytest.mark.parametrize("name", quick())
def test_no_canary_is_seen(name, tmp_path):
    """Whatever fails, no secret and no number is in an error, a log, a report, an output or a file."""
    if (module := missing(name)) is not None:
        pytest.skip(f"{module} is not installed: python -m pip install 'ucontact-async[test-full]'")
    seen = observe(name, tmp_path)
    assert seen.texts
    assert seen.leaks == []


def test_the_paths_are_many():
    """At least forty ways to fail, every one of them in the whole run."""
    assert len(PATHS) >= 40
    assert len(quick()) >= 40


def test_the_views_see(tmp_path):
    """Each view finds a canary that is really there: in a text, a local variable, a log, a copy, a file."""
    seen = Observed("planted")

    def fail():
        raise ValueError(f"token {TOKEN}")

    try:
        fail()
    except ValueError as error:
        seen.error(error)
    assert {leak.split(": ")[1] for leak in seen.leaks} == {"str", "repr", "traceback with locals", "copy", "pickle"}
    file = tmp_path / "journal"
    file.write_text(PASSWORD)
    seen.files("journal", file)
    seen.value(PHONE)
    assert {"journal", "values"} <= {leak.split(": ")[1] for leak in seen.leaks}


def test_locals_are_seen():
    """A canary that only a variable of a frame of the library holds is found."""
    seen = Observed("planted")
    try:
        logging.Formatter(style=TOKEN)
    except ValueError as error:
        seen.error(error)
    assert any("traceback with locals" in leak for leak in seen.leaks)


def test_a_bare_error_begins_anew():
    """An error that is made bare has neither frames nor causes, and is the same error."""
    try:
        try:
            raise KeyError(PHONE)
        except KeyError:
            raise SettingsError("said") from None
    except SettingsError as error:
        kept = bare(error)
    assert (str(kept), kept.__traceback__, kept.__cause__, kept.__context__) == ("said", None, None, None)


def test_a_secret_may_be_given_as_one():
    """A password that is a Secret already is taken as it is."""
    uc = UContact("https://acme.example", user="api", password=Secret(PASSWORD))
    assert uc.settings.password.reveal() == PASSWORD
    assert PASSWORD not in repr(vars(uc))

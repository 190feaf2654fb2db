"""``ucontact-async portal-demo``: two origins, until it is told to end."""

import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest

from ucontact_async.cli import main


@pytest.fixture
def demo():
    """The command in a process of its own."""
    command = [sys.executable, "-m", "ucontact_async", "portal-demo"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()


@pytest.mark.skipif(sys.platform == "win32", reason="only on POSIX: SIGTERM ends it politely")
def test_it_serves_a_portal_with_a_form_on_another_origin(demo):
    """It prints the portal's address with the form's in it, serves both, and ends well when told to."""
    portal = demo.stdout.readline().split()[-1]
    form = portal.partition("?form=")[2]
    assert form.partition("//")[2] != portal.partition("//")[2].partition("/")[0]
    with urlopen(portal) as page:
        assert f'src="{form}"' in page.read().decode()
    with urlopen(form) as page:
        assert b"Call with my phone" in page.read()
    with urlopen(demo.stdout.readline().split()[-1]) as ledger:
        assert ledger.read() == b"[]"
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(5) == 0


@pytest.mark.parametrize("wrong", [["--port", "99999"], ["--form", "localhost:8000"]])
def test_what_cannot_be_served_is_a_usage_error(capsys, wrong):
    """A port that cannot be had and a form that is no page are said, and end with 2."""
    assert main(["portal-demo", *wrong]) == 2
    assert "portal-demo: " in capsys.readouterr().err

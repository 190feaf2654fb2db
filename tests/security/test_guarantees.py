"""The sixteen guarantees of ``reliability.md`` section 5, and the tests that show each.

S1  no secret in a log, an error, a traceback or a file
    test_leaks.py::test_no_canary_is_seen
    test_leaks.py::test_locals_are_seen
S2  TLS is verified, 1.2 or newer, and cannot be switched off
    test_certificates.py::test_nothing_is_sent_to_a_bad_certificate
    test_certificates.py::test_no_line_switches_it_off
    test_certificates.py::test_a_pin
    test_certificates.py::test_our_own_certificate_is_shown
S3  no text becomes a header
    test_no_injection.py::test_a_token_is_one_header_or_none
    test_no_injection.py::test_the_wire_has_the_headers_that_we_wrote
S4  no text becomes a parameter of a form
    test_no_injection.py::test_a_form_says_what_it_was_given
S5  no text becomes a pair, an alternative or a line of a list
    test_no_injection.py::test_pairs_say_what_they_were_given
    test_no_injection.py::test_a_row_of_a_list_is_one_line_of_its_own
    ../unit/test_list_file.py
S6  a number to dial is one, and no costly one where that is refused
    test_no_injection.py::test_a_number_is_a_number
    test_no_injection.py::test_numbers_that_dial_more
    test_no_injection.py::test_costly_numbers_are_refused
S7  recordings come from configured hosts only
    test_hostile_names.py::test_hostile_guids_ask_nobody_and_write_nothing
    test_hostile_names.py::test_any_guid_stays_on_its_host
    test_hostile_names.py::test_a_token_does_not_go_to_hosts_of_recordings
S8  files stay in their folder, over nothing, for their owner only
    test_hostile_names.py::test_hostile_names_of_files
    test_hostile_names.py::test_what_is_there_is_left_alone
    test_hostile_names.py::test_a_folder_that_becomes_a_link_meanwhile
S9  answers are bounded
    test_bombs.py::test_a_bomb_takes_little_memory
    test_bombs.py::test_every_bomb
S10 no redirect is followed
    test_elsewhere.py::test_no_redirect_is_followed
    test_elsewhere.py::test_no_read_follows_a_redirect
S11 no text forges a line of a log
    test_no_injection.py::test_a_text_that_is_shown_is_one_line
    test_no_injection.py::test_no_answer_forges_a_line
    test_no_injection.py::test_no_row_forges_a_log_line
S12 files are for their owner only; journals forget, or never know
    test_private_files.py::test_every_file_is_for_its_owner_only
    test_private_files.py::test_a_journal_of_keys
    test_private_files.py::test_purging_forgets_what_is_old
S13 no secret is an argument
    test_secret_arguments.py::test_no_command_takes_a_secret
    test_secret_arguments.py::test_a_secret_in_the_arguments_is_refused
    test_secret_arguments.py::test_the_list_of_processes_shows_no_secret
S14 what decodes raises our errors only
    test_guarantees.py::test_decoders_raise_our_errors_only
    ../unit/test_wire.py
    ../unit/test_list_file.py
S15 four dependencies, with floors above the known holes
    test_guarantees.py::test_the_dependencies_are_the_four
S16 nothing of the environment sends requests elsewhere
    test_elsewhere.py::test_proxies_and_netrc_are_ignored
    test_elsewhere.py::test_keys_of_connections_are_written_nowhere
"""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async import InvalidRequest, UContactError
from ucontact_async.api import ENDPOINTS
from ucontact_async.portal import CtiCall, Envelope, read_action
from ucontact_async.settings import ServerProfile
from ucontact_async.wire import Answer, read_answer

HERE = Path(__file__).parent


def table():
    """Return the lines of the docstring above by the guarantee that they belong to."""
    found, current = {}, ""
    for line in sys.modules[__name__].__doc__.splitlines()[2:]:
        if (match := re.match(r"(S\d+) ", line)) is not None:
            current = match[1]
            found[current] = []
        elif line.strip():
            found[current].append(line.strip())
    return found


def test_every_guarantee_has_a_test():
    """S1 to S16, none left out, each with a test or a file of tests at least."""
    assert list(table()) == [f"S{number}" for number in range(1, 17)]
    assert all(table().values())


@pytest.mark.parametrize("place", [place for places in table().values() for place in places])
def test_every_test_of_the_table_is_there(place):
    """What the table names can be run."""
    file, _, name = place.partition("::")
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert (name in names) if name else any(name.startswith("test_") for name in names)


def _read_respool(data):
    return read_action({"action": "respool", "objetoRespool": data.decode("utf-8", "replace")})


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_decoders_raise_our_errors_only(data):
    """Any bytes, as the answer of every endpoint and as all that a portal sends, are read or are an error of ours."""
    for endpoint in ENDPOINTS.values():
        try:
            read_answer(Answer(200, {}, data), endpoint.reply, ServerProfile())
        except UContactError:
            continue
    for read in (Envelope.read, CtiCall.read, _read_respool):
        try:
            read(data)
        except InvalidRequest:
            continue


def test_the_dependencies_are_the_four():
    """What is installed with the library: no more than four packages, aiohttp beyond the holes that are known."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.match(r"[\w-]+", line)[0]: line for line in project["dependencies"] if "sys_platform" not in line}
    assert set(needed) == {"aiohttp", "msgspec", "anyio", "backoff"}
    floor = tuple(map(int, re.search(r">=([\d.]+)", needed["aiohttp"])[1].split(".")))
    assert floor >= (3, 14, 4)

"""``ucontact-async contract``: documents on standard output, from the command line as the README prints it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ucontact_async.cli import main
from ucontact_async.contract import openapi_document, postman_collection

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
URL = "https://acme.ucontactcloud.com"


@pytest.mark.parametrize(("format_", "make"), [("openapi", openapi_document), ("postman", postman_collection)])
def test_it_prints_the_document_and_nothing_else(capsys, format_, make):
    """Standard output is the document for the server that is named, as JSON."""
    assert main(["contract", "--format", format_, "--url", URL]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads(json.dumps(make(URL)))
    assert said.err == ""


def test_without_a_server_it_is_one_that_does_not_exist(capsys):
    """Nobody's server is called by a document that was made for none."""
    assert main(["contract", "--format", "openapi"]) == 0
    assert json.loads(capsys.readouterr().out)["servers"] == [{"url": "https://ucontact.example/Integra/resources"}]


@pytest.mark.parametrize("arguments", [["--format", "openapi", "--url", "acme"], ["--format", "raml"], []])
def test_what_cannot_be_printed_is_a_usage_error(capsys, arguments):
    """An address that is none, another format or none at all end with 2, and nothing on standard output."""
    try:
        code = main(["contract", *arguments])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err


def test_the_readmes_commands_make_files(tmp_path):
    """The two lines of the README, run by a shell, leave two files of JSON that hold every endpoint of its table."""
    block = next(
        body for body in re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE) if "openapi" in body
    )
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    subprocess.run(["sh", "-ec", block], cwd=tmp_path, env=environment, check=True, timeout=30)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "ucontact.openapi.json",
        "ucontact.postman_collection.json",
    ]
    for file in tmp_path.iterdir():
        text = json.dumps(json.loads(file.read_bytes()))
        assert all(path in text for path in re.findall(r"^\| \w+ \| `([\w/]+)` \|", README, re.MULTILINE))

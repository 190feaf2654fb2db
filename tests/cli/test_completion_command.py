"""``ucontact-async completion``, asked by a real shell."""

import shutil
import subprocess

import pytest

from ucontact_async.cli import main

pytest.importorskip("shtab", reason="shtab is not installed: python -m pip install shtab")


def test_bash_completes_commands_and_options(capsys):
    """With the script read, bash offers the commands that begin so, and the options of one."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("only on systems with bash")
    assert main(["completion", "bash"]) == 0
    ask = """
COMP_WORDS=(ucontact-async {words}); COMP_CWORD={place}
$(complete -p ucontact-async | sed 's/.*-F \\([^ ]*\\).*/\\1/') 2>/dev/null; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    script = capsys.readouterr().out + ask.format(words="sche", place=1) + ask.format(words="schedule --max-u", place=2)
    said = subprocess.run([bash], input=script, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    assert said == ["schedule", "--max-unknown", "--max-unknown-jump"]

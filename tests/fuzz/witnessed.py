"""The bytes that were written by hand from ``protocol.md``: good seeds, for no code of ours made them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "contract"))

from status_answers import STATUS, SUMMARY
from witnesses import RECORDS, TOKEN, WITNESSES

__all__ = ["BODIES", "MEANINGS", "RECORDS", "STATUS", "SUMMARY", "TOKEN", "VALUES"]

BODIES = [(path, body) for path, witness in WITNESSES.items() for body in witness.bodies]
"""Every form that clients were seen to send, and the endpoint it was sent to."""

MEANINGS = [(path, body) for path, witness in WITNESSES.items() for body, _ in witness.meanings]
"""Every answer whose meaning is documented, and the endpoint that gave it."""

VALUES = sorted({str(value) for witness in WITNESSES.values() for value in witness.fields.values()})
"""Texts that stood in a field."""

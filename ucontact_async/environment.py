"""The variables of this process, and nothing else: the only reader of the environment, cheap to import."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["variables"]


def variables() -> Mapping[str, str]:
    """Return all of them as they are now."""
    return os.environ

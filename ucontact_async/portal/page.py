"""What a page inside the portal needs beside its markup: the script, the headers, and origins as browsers write them.

It serves nothing itself.
"""

from __future__ import annotations

import functools
from importlib.resources import files

from ..settings import plain_origin

__all__ = ["bridge_script", "browser_origin", "page_headers"]


@functools.cache
def bridge_script() -> str:
    """Return ``bridge.js``, to be served by your service as ``text/javascript`` and loaded with ``defer``."""
    return files("ucontact_async.portal").joinpath("bridge.js").read_text(encoding="utf-8")


def browser_origin(url: str) -> str:
    """Return the origin of ``url`` as browsers write it; raise :class:`SettingsError` for what is none."""
    # Without the warning: what a page names is told in its answer, and would be remembered for each name.
    origin = plain_origin(url).lower()
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


def page_headers(portal_origin: str) -> dict[str, str]:
    """Return headers for a page with rendered actions, which only the portal at ``portal_origin`` may embed.

    The page may load scripts, styles and pictures of its own origin, nothing inline, and send only to that.
    """
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {browser_origin(portal_origin)}"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }

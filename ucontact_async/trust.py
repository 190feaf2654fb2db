"""Whose certificates are trusted, and which one we show: one context for every TLS connection that is opened.

There is no other place where a context is made, and none where verification could be switched off.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import cast

from .errors import SettingsError
from .settings import Settings, Tls

__all__ = ["context_of", "trust_of"]


class _PinnedObject(ssl.SSLObject):
    """A TLS connection that is refused, before anything is sent on it, by a certificate that is not among the pins."""

    def do_handshake(self) -> None:
        """Shake hands, then look at the certificate, which has been verified by now."""
        super().do_handshake()
        pins = cast("_Context", self.context).pins
        shown = hashlib.sha256(self.getpeercert(binary_form=True) or b"").digest()
        if pins and shown not in pins:
            raise ssl.SSLCertVerificationError("the certificate is none of those that were pinned")


class _Context(ssl.SSLContext):
    pins: frozenset[bytes] = frozenset()
    sslobject_class = _PinnedObject


def trust_of(settings: Settings) -> ssl.SSLContext | bool:
    """Return the context for the servers of ``settings``; ``True``, aiohttp's own, where none of them speaks TLS.

    Raises :class:`SettingsError` for files that cannot be used.
    """
    servers = (settings.url, settings.records, settings.backup_records)
    secure = any(server is not None and server.startswith("https:") for server in servers)
    return context_of(settings.tls) if secure else True


def context_of(tls: Tls) -> ssl.SSLContext:
    """Return a context that verifies certificates and host names, by TLS 1.2 or newer.

    Not :func:`ssl.create_default_context`: that would write the keys of every connection to ``SSLKEYLOGFILE``.
    """
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.pins = tls.fingerprints
    if tls.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        # A server's own certificate is trusted too, and not only that of an authority.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cafile=tls.ca)
        except OSError:  # SSLError is one
            raise SettingsError(f"the trusted certificates cannot be read from {tls.ca}; give a PEM file") from None
    if tls.cert is not None:
        _load_own(context, tls)
    return context


def _load_own(context: ssl.SSLContext, tls: Tls) -> None:
    assert tls.cert is not None
    secret = tls.key_password
    try:
        # Always a function: without one OpenSSL asks at the terminal for the password of an encrypted key.
        context.load_cert_chain(tls.cert, tls.key, password=lambda: "" if secret is None else secret.reveal())
    except OSError:
        raise SettingsError(
            f"the client certificate cannot be used: {tls.cert} and its key must be PEM files that belong together"
            + (", and the password must open the key" if secret is not None else ", the key not encrypted")
        ) from None

"""This module makes TLS contexts for tests, from authorities and certificates made by trustme."""

from __future__ import annotations

import ssl

import trustme


def server_context(
    certificate: trustme.LeafCert, *, clients: trustme.CA | None = None, alpn: bool = True
) -> ssl.SSLContext:
    """Return a context that shows `certificate`; with `clients`, it requires a certificate of that
    authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    if alpn:
        context.set_alpn_protocols(["h2"])
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(trusted: trustme.CA) -> ssl.SSLContext:
    """Return a context that trusts servers of that authority alone."""
    context = ssl.create_default_context()
    trusted.configure_trust(context)
    return context

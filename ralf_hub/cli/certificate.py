"""The certificate of the hub's own listener, which may be renewed while it serves."""

import ssl

from ralf_hub.config.models import TlsSettings


class CertificateError(Exception):
    """The certificate or its key cannot be used; the message says why."""


class Certificate:
    """What HTTPS is served with. `context` stays the same; what it shows to new connections can change."""

    def __init__(self, settings: TlsSettings) -> None:
        self.context = _context(settings)

    def renew(self, settings: TlsSettings) -> None:
        """Take the certificate from its files anew. CertificateError: the one before goes on."""
        _context(settings)  # proved apart: of a faulty pair nothing must get into the one in use
        _load(self.context, settings)


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, settings)
    return context


def _load(context: ssl.SSLContext, settings: TlsSettings) -> None:
    try:
        # Without a password given, OpenSSL would ask for one at the terminal and wait.
        context.load_cert_chain(settings.cert, settings.key, password="")
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise CertificateError(
            f"the TLS certificate {settings.cert} or its key {settings.key} cannot be used: {reason}"
        ) from None

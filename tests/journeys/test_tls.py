"""HTTPS by the hub itself, and a certificate that is renewed while it serves."""

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ralf_hub.cli.certificate import Certificate, CertificateError
from ralf_hub.config.models import TlsSettings
from tests.journeys.hub import Hub
from tests.support import eventually

DAY = dt.timedelta(days=1)


def issue(name: str, *, password: bytes | None = None) -> tuple[bytes, bytes]:
    """Return a new self-signed certificate for 127.0.0.1 called *name*, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .sign(key, hashes.SHA256())
    )
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def put(path: Path, content: bytes) -> None:
    """Write as those who renew certificates do: another file takes the place."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o600)
    fresh.replace(path)


def settings_of(folder: Path) -> TlsSettings:
    return TlsSettings(cert=folder / "cert.pem", key=folder / "key.pem")


async def name_shown(port: int) -> str:
    """Return the name in the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return str(x509.load_der_x509_certificate(der).subject.rfc4514_string())


def test_what_cannot_be_used_is_said_and_the_one_before_goes_on(tmp_path: Path) -> None:
    cert, key = issue("first")
    put(tmp_path / "cert.pem", cert)
    put(tmp_path / "key.pem", key)
    certificate = Certificate(settings_of(tmp_path))
    other_cert, other_key = issue("other")
    _, hidden = issue("hidden", password=b"a password")
    for wrong_cert, wrong_key in (
        (other_cert, key),  # half of a renewal
        (cert, other_key),
        (b"no certificate", key),
        (cert, b""),
        (cert, hidden),  # nobody is there to be asked for a password
    ):
        put(tmp_path / "cert.pem", wrong_cert)
        put(tmp_path / "key.pem", wrong_key)
        with pytest.raises(CertificateError, match="cannot be used"):
            certificate.renew(settings_of(tmp_path))
    (tmp_path / "cert.pem").unlink()
    with pytest.raises(CertificateError, match="No such file"):
        certificate.renew(settings_of(tmp_path))
    assert certificate.context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.journey
async def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    for path, content in zip(("cert.pem", "key.pem"), issue("first"), strict=True):
        put(tmp_path / path, content)
    api = 'tls = { cert = "cert.pem", key = "key.pem" }\nrate_limit.enabled = false'
    hub = Hub(tmp_path, "", api=api, scheme="https")
    async with hub:
        assert await name_shown(hub.port) == "CN=first"
        cert, key = issue("second")
        put(tmp_path / "cert.pem", cert)
        await eventually(lambda: "cannot be used" in hub.output.read_text(), within_s=10)
        assert await name_shown(hub.port) == "CN=first"
        assert (await hub.ok("GET", "/health"))["checks"]["settings"] != "ok"
        put(tmp_path / "key.pem", key)

        async def renewed() -> bool:
            return await name_shown(hub.port) == "CN=second"

        await eventually(renewed, within_s=10)

        async def well() -> bool:
            return bool((await hub.ok("GET", "/health"))["checks"]["settings"] == "ok")

        await eventually(well, within_s=10)

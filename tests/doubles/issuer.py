"""An OpenID provider on loopback: its discovery document, its keys, and tokens signed without the library the hub reads them with."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils

from tests.doubles.server import Double

AUDIENCE: Final = "https://hub.example.org"
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}


def b64(data: bytes) -> str:
    """Return *data* as tokens and key sets carry bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@cache
def private_key(kind: str, number: int = 0) -> Any:
    """Return a key of *kind* (`RSA`, `RSA-1024`, a curve); the same for the same *number*, as making RSA keys is slow."""
    del number
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65_537, int(kind.partition("-")[2] or 2_048))
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    return {"Ed25519": ed25519.Ed25519PrivateKey, "Ed448": ed448.Ed448PrivateKey}[kind].generate()


@dataclass(frozen=True, slots=True)
class Signer:
    """One key of the provider and the algorithm it signs with."""

    id: str
    kind: str = "RSA"
    algorithm: str = "RS256"
    number: int = 0

    @property
    def _key(self) -> Any:
        return private_key(self.kind, self.number)

    def jwk(self, **more: Any) -> dict[str, Any]:
        """Return the public half as a key set lists it."""
        public = self._key.public_key()
        if self.kind.startswith("RSA"):
            numbers = public.public_numbers()
            parts = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        elif self.kind in _CURVES:
            numbers, size = public.public_numbers(), (public.curve.key_size + 7) // 8
            parts = {
                "kty": "EC",
                "crv": self.kind,
                "x": _number(numbers.x, size),
                "y": _number(numbers.y, size),
            }
        else:
            parts = {"kty": "OKP", "crv": self.kind, "x": b64(public.public_bytes_raw())}
        return {"kid": self.id, "use": "sig", **parts, **more}

    def pem(self) -> bytes:
        """Return the public half as PEM: what a forger takes for an HMAC's secret."""
        return bytes(
            self._key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def sign(self, data: bytes) -> bytes:
        kind, digest = self.algorithm[:2], _HASHES.get(self.algorithm[2:])
        if kind == "RS":
            return bytes(self._key.sign(data, padding.PKCS1v15(), digest))
        if kind == "PS":
            assert digest is not None
            pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
            return bytes(self._key.sign(data, pss, digest))
        if kind == "ES":
            assert digest is not None
            r, s = utils.decode_dss_signature(self._key.sign(data, ec.ECDSA(digest)))
            size = (self._key.curve.key_size + 7) // 8
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        return bytes(self._key.sign(data))


def joined(header: Mapping[str, Any], claims: Any, signature: Any) -> str:
    """Return a token of these parts; *signature* is called with what it must sign."""
    parts = [b64(json.dumps(part).encode()) for part in (header, claims)]
    data = ".".join(parts)
    return f"{data}.{b64(signature(data.encode()))}"


def hmac_token(claims: Any, secret: bytes, **header: Any) -> str:
    """Return *claims* under an HMAC with *secret*."""
    return joined(
        {"alg": "HS256", **header}, claims, lambda data: hmac.new(secret, data, hashlib.sha256).digest()
    )


class Issuer(Double):
    """A provider. `signers` are the keys it shows; `extra` stands in its key set beside them."""

    def __init__(self, now_s: float) -> None:
        super().__init__()
        self.now_s = now_s
        self.signers = [Signer("first")]
        self.extra: list[Any] = []
        self.discovered: dict[str, Any] = {}
        """Members of the discovery document in place of the true ones."""

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/.well-known/openid-configuration", self._discover), web.get("/keys", self._keys)]

    async def _discover(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.discovered})

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [*self.extra, *(signer.jwk() for signer in self.signers)]})

    @property
    def fetches(self) -> int:
        """How often the keys were asked for."""
        return len(self.calls("/keys"))

    def claims(self, **more: Any) -> dict[str, Any]:
        """Return claims of a good token; None leaves one out."""
        usual = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ci-robot",
            "iat": int(self.now_s),
            "exp": int(self.now_s) + 600,
            "scope": "openid tasks:read",
        }
        return {name: value for name, value in {**usual, **more}.items() if value is not None}

    def token(
        self, signer: Signer | None = None, header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        """Return a token, good but for what is said otherwise."""
        signer = signer or self.signers[0]
        shown = {"alg": signer.algorithm, "typ": "at+jwt", "kid": signer.id, **(header or {})}
        return joined(
            {name: value for name, value in shown.items() if value is not None},
            self.claims(**claims),
            signer.sign,
        )

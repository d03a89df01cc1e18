"""What an access token says and whether to believe it: pure, given the provider's keys and the time.

JSON Web Tokens (RFC 7519) with the care of RFC 8725: algorithms are pinned, and belong to the kind of the key.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from ralf_hub.clock import FAR_FUTURE, MS_PER_S, iso, parse_iso
from ralf_hub.keyring import Principal
from ralf_hub.model import ALL_SCOPES, SCOPES, Json

LEEWAY_S: Final = 30
"""How far the provider's clock may be from ours."""
TOKEN_LENGTH_MAX: Final = 16_384
SUBJECT_LENGTH_MAX: Final = 200
KEYS_MAX: Final = 100
"""Keys taken of one provider; real ones have two to ten."""
RSA_BITS_MIN: Final = 2_048
TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""What a token may say it is: no other kind of signed text is taken for an access token."""

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final[Mapping[tuple[Json, Json], frozenset[str]]] = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    ("OKP", "Ed448"): frozenset({"EdDSA"}),
}
ALGORITHMS: Final = _RSA.union(*_CURVES.values())
"""All with a public key: `none` and the HMACs, whose key would have to be secret, are not among them."""
_KNOWN_SCOPES: Final = frozenset({*SCOPES, ALL_SCOPES})

NO_TOKEN: Final = "This is no access token of the provider."  # noqa: S105 - a sentence


class TokenRefusedError(Exception):
    """A token that does not count; the message says why, in ASCII without quotes, fit for a header."""


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """One public key of the provider, and the algorithms it may sign with."""

    id: str | None
    algorithms: frozenset[str]
    material: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """What a token's header says: which key signed it, and how."""

    key_id: str | None
    algorithm: str


@dataclass(frozen=True, slots=True)
class Expected:
    """Whose tokens count, and for whom they must be made."""

    issuer: str
    audience: str


# --- keys -----------------------------------------------------------------------------------------


def read_keys(document: Json) -> tuple[ProviderKey, ...]:
    """Return the usable keys of a key set (RFC 7517). ValueError when there is none."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("is no key set")  # noqa: TRY004 - one error for every key set that is none
    found = [key for entry in listed[:KEYS_MAX] if (key := _read_key(entry)) is not None]
    if not found:
        raise ValueError("holds no key that can be used")
    return tuple(found)


def _read_key(entry: Json) -> ProviderKey | None:
    """Return one key; None for what is not made to verify with, too short, broken or unknown: a key set may hold such."""
    import jwt  # noqa: PLC0415 - only who uses a provider pays for it in memory

    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        algorithms = _RSA if entry.get("kty") == "RSA" else _CURVES[entry.get("kty"), entry.get("crv")]
        if "alg" in entry:
            algorithms &= {entry["alg"]}  # none left: `min` says so
        material = jwt.PyJWK({**entry, "alg": min(algorithms)}).key
    except Exception:  # noqa: BLE001 - libraries say in many ways that a key is odd; it must not take the others along
        return None
    if entry["kty"] == "RSA" and material.key_size < RSA_BITS_MIN:
        return None
    key_id = entry.get("kid")
    return ProviderKey(key_id if isinstance(key_id, str) else None, algorithms, material)


def matching(keys: Iterable[ProviderKey], header: Header) -> list[ProviderKey]:
    """Return the keys that may have signed a token with *header*; one that names no key may be signed by any."""
    return [
        key
        for key in keys
        if header.algorithm in key.algorithms and (header.key_id is None or header.key_id == key.id)
    ]


# --- tokens ---------------------------------------------------------------------------------------


def read_header(token: str) -> Header:
    """Return what *token* says of its signature; nothing of it is proven yet. TokenRefusedError."""
    import jwt  # noqa: PLC0415 - as above

    if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        raise TokenRefusedError(NO_TOKEN)
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenRefusedError(NO_TOKEN) from None
    algorithm, kind, key_id = header.get("alg"), header.get("typ"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefusedError("The token is signed in a way that is not accepted.")
    if "crit" in header or (kind is not None and str(kind).lower() not in TYPES):
        raise TokenRefusedError(NO_TOKEN)
    return Header(key_id, algorithm)


def verify(
    token: str, header: Header, keys: Sequence[ProviderKey], expected: Expected, now_s: float
) -> dict[str, Json]:
    """Return the claims of *token*, signed by one of *keys*, in force at *now_s* (seconds since 1970). TokenRefusedError."""
    import jwt  # noqa: PLC0415 - as above

    for key in keys:
        try:
            claims: dict[str, Json] = jwt.decode(
                token,
                key=key.material,
                algorithms=[header.algorithm],
                audience=expected.audience,
                issuer=expected.issuer,
                # Times are compared below, with the clock of the hub.
                options={
                    "require": ["iss", "aud", "exp", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidIssuerError:
            raise TokenRefusedError("The token is from another issuer.") from None
        except jwt.InvalidAudienceError:
            raise TokenRefusedError("The token is made for another audience.") from None
        except jwt.MissingRequiredClaimError as error:
            raise TokenRefusedError(f"The token lacks the claim {error.claim}.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise TokenRefusedError(NO_TOKEN) from None
        _check_times(claims, now_s)
        return claims
    raise TokenRefusedError("The token's signature is not right.")


def _check_times(claims: Mapping[str, Json], now_s: float) -> None:
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if value is None and name != "exp":
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not isfinite(value):
            raise TokenRefusedError(f"The token's claim {name} is no time.")
    if claims["exp"] + LEEWAY_S <= now_s:
        raise TokenRefusedError("The token has ended.")
    if max(claims.get("nbf") or 0, claims.get("iat") or 0) - LEEWAY_S > now_s:
        raise TokenRefusedError("The token is not valid yet.")


def principal_of(claims: Mapping[str, Json]) -> Principal:
    """Return whom verified claims name, with the hub's scopes among theirs; other scopes mean other services."""
    subject = claims.get("sub")
    if (
        not isinstance(subject, str)
        or not 0 < len(subject) <= SUBJECT_LENGTH_MAX
        or not subject.isprintable()
    ):
        raise TokenRefusedError("The token's claim sub is not text that can name somebody.")
    given = frozenset(scope for name in ("scope", "scp") for scope in _listed(claims.get(name)))
    ends_ms = min((claims["exp"] + LEEWAY_S) * MS_PER_S, parse_iso(FAR_FUTURE))
    return Principal(f"oauth:{subject}", subject, given & _KNOWN_SCOPES, expires_at=iso(int(ends_ms)))


def _listed(value: Json) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []

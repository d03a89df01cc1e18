"""Which tokens are believed, and what they say."""

import json
from typing import Any

import pytest

from ralf_hub.identity.claims import (
    LEEWAY_S,
    SUBJECT_LENGTH_MAX,
    TOKEN_LENGTH_MAX,
    Expected,
    TokenRefusedError,
    matching,
    principal_of,
    read_header,
    read_keys,
    verify,
)
from ralf_hub.keyring import Principal
from tests.doubles.issuer import AUDIENCE, Issuer, Signer, b64, hmac_token, joined

NOW_S = 1_770_000_000.0
ISSUER = Issuer(NOW_S)
EXPECTED = Expected(ISSUER.url, AUDIENCE)
KINDS = [
    *(("RSA", name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    *(("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512"), ("Ed25519", "EdDSA"), ("Ed448", "EdDSA")),
]


def read(token: str, *signers: Signer, now_s: float = NOW_S, jwks: Any = None) -> Principal:
    """Read *token* as the hub does, with the keys of *signers*."""
    keys = read_keys(jwks or {"keys": [signer.jwk() for signer in signers or ISSUER.signers]})
    header = read_header(token)
    return principal_of(verify(token, header, matching(keys, header), EXPECTED, now_s))


def refused(token: str, *signers: Signer, **more: Any) -> str:
    with pytest.raises(TokenRefusedError) as raised:
        read(token, *signers, **more)
    said = str(raised.value)
    assert said.isascii()
    assert not {'"', "\\"} & set(said)
    return said


# --- signatures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "algorithm"), KINDS)
def test_every_algorithm_with_a_public_key(kind: str, algorithm: str) -> None:
    signer = Signer("k", kind, algorithm)
    assert read(ISSUER.token(signer), signer) == Principal(
        "oauth:ci-robot", "ci-robot", frozenset({"tasks:read"})
    )


@pytest.mark.parametrize(("kind", "algorithm"), KINDS)
def test_a_signature_that_is_not_right(kind: str, algorithm: str) -> None:
    signer, other = Signer("k", kind, algorithm), Signer("k", kind, algorithm, number=1)
    assert refused(ISSUER.token(other), signer) == "The token's signature is not right."
    head, body, signature = ISSUER.token(signer).split(".")
    changed = b64(json.dumps(ISSUER.claims(scope="*")).encode())
    assert refused(f"{head}.{changed}.{signature}", signer) == "The token's signature is not right."
    assert refused(f"{head}.{body}.", signer) == "The token's signature is not right."


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS1", "ES256K", None, 5, ["RS256"]])  # fmt: skip
def test_algorithms_that_are_not_accepted(name: Any) -> None:
    for signature in (b"", b"x" * 256):
        token = joined({"alg": name, "kid": "first"}, ISSUER.claims(), lambda _, s=signature: s)
        refused(token)
    assert (
        refused(ISSUER.token(header={"alg": "none"})) == "The token is signed in a way that is not accepted."
    )


def test_an_hmac_with_the_public_key_as_its_secret() -> None:
    [signer] = ISSUER.signers
    for secret in (signer.pem(), signer.pem().strip(), json.dumps(signer.jwk()).encode()):
        said = refused(hmac_token(ISSUER.claims(), secret, kid=signer.id))
        assert said == "The token is signed in a way that is not accepted."
    # Not even where the header says another algorithm than what was done.
    assert refused(hmac_token(ISSUER.claims(), signer.pem(), kid=signer.id, alg="RS256"))


def test_an_algorithm_belongs_to_the_kind_of_the_key_and_to_what_the_key_says() -> None:
    signer = Signer("k")
    assert not matching(
        read_keys({"keys": [signer.jwk()]}), read_header(ISSUER.token(header={"alg": "ES256"}))
    )
    token = ISSUER.token(Signer("k", "RSA", "RS512"))
    assert read(token, signer)
    assert refused(token, jwks={"keys": [signer.jwk(alg="RS256")]})


def test_a_token_that_names_no_key_may_be_signed_by_any() -> None:
    signers = [Signer("a", number=1), Signer("b", "P-256", "ES256"), Signer("c")]
    assert read(ISSUER.token(signers[2], {"kid": None}), *signers)
    assert refused(ISSUER.token(signers[2], {"kid": "a"}), *signers)


@pytest.mark.parametrize(
    "flaw",
    [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": 5}, {"alg": "RSA-OAEP"}, {"alg": ["RS256"]}, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": ["RSA"]}, {"kty": "OKP", "crv": "X25519", "x": "AA"}, {"kty": "EC", "crv": "secp256k1"}, {"n": "!"}, {"n": 5}, {"n": None}, {"e": "AA"}],
)  # fmt: skip
def test_keys_that_cannot_be_used_are_left_out(flaw: dict[str, Any]) -> None:
    good = Signer("good", "P-256", "ES256")
    [kept] = read_keys({"keys": [{**Signer("odd").jwk(), **flaw}, 5, None, good.jwk()]})
    assert kept.id == "good"
    with pytest.raises(ValueError, match="no key that can be used"):
        read_keys({"keys": [{**Signer("odd").jwk(), **flaw}]})


def test_an_rsa_key_that_is_too_short_is_left_out() -> None:
    with pytest.raises(ValueError, match="no key that can be used"):
        read_keys({"keys": [Signer("k", "RSA-1024").jwk()]})


@pytest.mark.parametrize("document", [None, 5, [], {}, {"keys": None}, {"keys": {}}, {"keys": []}, "keys"])
def test_what_is_no_key_set(document: Any) -> None:
    with pytest.raises(ValueError, match="no key"):
        read_keys(document)


# --- what it says ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": NOW_S - LEEWAY_S}, "The token has ended."),
        ({"exp": None}, "The token lacks the claim exp."),
        ({"exp": "soon"}, "The token's claim exp is no time."),
        ({"exp": True}, "The token's claim exp is no time."),
        ({"exp": float("inf")}, "The token's claim exp is no time."),
        ({"exp": float("nan")}, "The token's claim exp is no time."),
        ({"nbf": NOW_S + LEEWAY_S + 1}, "The token is not valid yet."),
        ({"nbf": []}, "The token's claim nbf is no time."),
        ({"iat": NOW_S + LEEWAY_S + 1}, "The token is not valid yet."),
        ({"iat": "x"}, "The token's claim iat is no time."),
        ({"aud": "https://other.example.org"}, "The token is made for another audience."),
        ({"aud": ["a", "b"]}, "The token is made for another audience."),
        ({"aud": AUDIENCE + "/"}, "The token is made for another audience."),
        ({"aud": None}, "The token lacks the claim aud."),
        ({"aud": {}}, "The token lacks the claim aud."),
        ({"aud": 5}, "The token is made for another audience."),
        ({"iss": "https://other.example.org"}, "The token is from another issuer."),
        ({"iss": ISSUER.url + "/"}, "The token is from another issuer."),
        ({"iss": None}, "The token lacks the claim iss."),
        ({"sub": None}, "The token lacks the claim sub."),
    ],
)
def test_claims_that_do_not_fit(claims: dict[str, Any], said: str) -> None:
    assert refused(ISSUER.token(**claims)) == said


@pytest.mark.parametrize("subject", ["", 5, "a\nb", "a\0b", "x" * (SUBJECT_LENGTH_MAX + 1), ["x"], "\ud800"])
def test_subjects_that_name_nobody(subject: Any) -> None:
    refused(ISSUER.token(sub=subject))


@pytest.mark.parametrize(
    "claims",
    [{"exp": NOW_S - LEEWAY_S + 1}, {"nbf": NOW_S + LEEWAY_S}, {"iat": None}, {"exp": NOW_S + 0.5}, {"aud": ["x", AUDIENCE]}, {"nbf": 0}],
)  # fmt: skip
def test_claims_that_just_fit(claims: dict[str, Any]) -> None:
    assert read(ISSUER.token(**claims)).id == "oauth:ci-robot"


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "tasks:read tasks:write openid email"}, {"tasks:read", "tasks:write"}),
        ({"scope": None, "scp": ["tasks:read", "profile", 5, None]}, {"tasks:read"}),
        ({"scope": None, "scp": "tasks:read queue:read"}, {"tasks:read", "queue:read"}),
        ({"scope": "tasks:read", "scp": ["queue:read"]}, {"tasks:read", "queue:read"}),
        ({"scope": ["admin"]}, {"admin"}),
        ({"scope": "*"}, {"*"}),
        ({"scope": None}, set()),
        ({"scope": "TASKS:READ tasks"}, set()),
        ({"scope": 5, "scp": {"tasks:read": True}}, set()),
    ],
)
def test_scopes_of_the_hub_count_and_others_are_for_others(claims: dict[str, Any], scopes: set[str]) -> None:
    assert read(ISSUER.token(**claims)).scopes == scopes


# --- what is no token -----------------------------------------------------------------------------

_DEEP = b64(b"[" * 4_000)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "é.b.c", "rh_x", f"{_DEEP}.e30.AA", b64(b"{}") + ".e30.AA", b64(b"[]") + ".e30.AA", b64(b'{"alg":"RS256","kid":5}') + ".e30.AA", b64(b'{"alg":"RS256"') + ".e30.AA", "x" * 1_000_000, "a." * 1_000, b64(b"\xff\xfe") + ".e30.AA", "eyJhbGciOiJSUzI1NiJ9", b64(b'{"alg":"RS256","x":' + b"9" * 5_000 + b"}") + ".e30.AA"],
)  # fmt: skip
def test_garbage(token: str) -> None:
    refused(token)


@pytest.mark.parametrize("body", [b"", b"5", b"[]", b"null", b"{", b"\xff", b"[" * 4_000, b'{"exp":1e999}'])
def test_signed_garbage(body: bytes) -> None:
    [signer] = ISSUER.signers
    data = f"{b64(json.dumps({'alg': 'RS256', 'kid': signer.id}).encode())}.{b64(body)}"
    refused(f"{data}.{b64(signer.sign(data.encode()))}")


def test_a_token_too_long_is_not_even_read() -> None:
    token = ISSUER.token(filler="x" * TOKEN_LENGTH_MAX)
    assert len(token) > TOKEN_LENGTH_MAX
    refused(token)


@pytest.mark.parametrize("header", [{"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"typ": 5}, {"crit": ["b64"], "b64": False}, {"crit": []}])  # fmt: skip
def test_signed_text_that_is_no_access_token(header: dict[str, Any]) -> None:
    refused(ISSUER.token(header=header))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None])
def test_types_an_access_token_may_have(kind: str | None) -> None:
    assert read(ISSUER.token(header={"typ": kind}))

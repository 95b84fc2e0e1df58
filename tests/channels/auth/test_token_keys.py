"""Which keys sign and verify tokens, which are refused at start, and what is published of them."""

import warnings

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from channels.auth import token
from channels.auth.token import TokenKey, TokenKeyError, TokenVerifier
from tests.channels.auth.tokens import EC, HMAC, KEYS, NOW, SETTINGS, ec_token, minted, pem_of, public_pem_of, verifier


@pytest.fixture(scope="session")
def rsa_key() -> TokenKey:
    return token.private_key("rsa", pem_of(rsa.generate_private_key(65537, 2048)))


@pytest.fixture(scope="session")
def weak_rsa_pem() -> bytes:
    return pem_of(rsa.generate_private_key(65537, 1024))


def test_each_algorithm_signs_and_verifies(rsa_key: TokenKey) -> None:
    ed_key = token.private_key("ed", pem_of(ed25519.Ed25519PrivateKey.generate()))
    keys = (EC, HMAC, rsa_key, ed_key)
    judge = verifier(*keys)
    for key in keys:
        text = minted(key)
        assert jwt.get_unverified_header(text) == {"alg": key.algorithm, "kid": key.kid, "typ": "JWT"}
        assert judge.verify(text, NOW).subject == "dev-1"
    assert [key.algorithm for key in keys] == ["ES256", "HS256", "RS256", "EdDSA"]


def test_public_key_verifies_and_cannot_sign() -> None:
    key = token.public_key(EC.kid, EC.public)
    assert verifier(key).verify(ec_token(), NOW).subject == "dev-1"
    with pytest.raises(TokenKeyError, match="only verifies"):
        minted(key)


def test_short_secret_is_refused_at_start() -> None:
    with pytest.raises(TokenKeyError, match="32 bytes at least, this one 31"):
        verifier(TokenKey("short", "HS256", b"k" * 31, b""))
    with pytest.raises(TokenKeyError):
        verifier(TokenKey("none", "HS256", None, b"public"))


def test_weak_rsa_key_is_refused_at_start(weak_rsa_pem: bytes) -> None:
    with pytest.raises(TokenKeyError, match="2048 bits at least, this one 1024"):
        token.private_key("weak", weak_rsa_pem)
    public = public_pem_of(serialization.load_pem_private_key(weak_rsa_pem, None))
    with pytest.raises(TokenKeyError, match="2048"):
        verifier(TokenKey("weak", "RS256", None, public))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256K1()], ids=lambda curve: curve.name)
def test_other_curves_are_refused(curve: ec.EllipticCurve) -> None:
    with pytest.raises(TokenKeyError, match="only P-256"):
        token.private_key("curve", pem_of(ec.generate_private_key(curve)))


def test_kinds_of_key_without_an_algorithm_here_are_refused() -> None:
    odd = x25519.X25519PrivateKey.generate()
    with pytest.raises(TokenKeyError, match="use P-256, Ed25519 or RSA"):
        token.private_key("odd", pem_of(odd))
    with pytest.raises(TokenKeyError, match="use P-256, Ed25519 or RSA"):
        token.public_key("odd", public_pem_of(odd))


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA", "ES384", "none", "", "HS512"])
def test_key_that_does_not_fit_its_algorithm_is_refused_at_start(algorithm: str) -> None:
    with pytest.raises(TokenKeyError, match="does not fit"):
        verifier(TokenKey("odd", algorithm, EC.private, EC.public))


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_text_that_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(TokenKeyError, match="no public key in PEM form"):
        token.public_key("k", pem)
    with pytest.raises(TokenKeyError, match="no unencrypted private key in PEM form"):
        token.private_key("k", pem)


def test_key_set_must_be_neither_empty_nor_ambiguous() -> None:
    with pytest.raises(TokenKeyError, match="no key"):
        TokenVerifier((), SETTINGS)
    with pytest.raises(TokenKeyError, match="same kid"):
        TokenVerifier((HMAC, HMAC), SETTINGS)


def test_key_does_not_show_its_secret() -> None:
    for key in KEYS:
        shown = repr(key) + str(key) + repr([key])
        assert "PRIVATE" not in shown
        assert "kkkk" not in shown


def test_bad_key_set_changes_nothing() -> None:
    judge = verifier()
    with pytest.raises(TokenKeyError):
        judge.replace_keys(())
    assert judge.verify(ec_token(), NOW)


def test_key_set_is_published_without_secrets(rsa_key: TokenKey) -> None:
    ed_key = token.private_key("ed", pem_of(ed25519.Ed25519PrivateKey.generate()))
    keys = verifier(EC, HMAC, rsa_key, ed_key).jwks()["keys"]
    assert [(key["kid"], key["kty"], key["alg"], key["use"]) for key in keys] == [
        (EC.kid, "EC", "ES256", "sig"),
        ("rsa", "RSA", "RS256", "sig"),
        ("ed", "OKP", "EdDSA", "sig"),
    ]
    for key in keys:
        assert not {"d", "p", "q", "k", "dp", "dq", "qi"} & key.keys()
    assert jwt.decode(
        minted(EC), jwt.PyJWK(keys[0]).key, ["ES256"], audience="heliograph", options={"verify_exp": False}
    )


def test_library_warnings_never_reach_the_operator(rsa_key: TokenKey) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judge = verifier(EC, HMAC, rsa_key)
        for key in (EC, HMAC, rsa_key):
            judge.verify(minted(key), NOW)

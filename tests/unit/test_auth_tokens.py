import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ingest.auth.tokens import Tokens, parse_path
from ingest.errors import TokenRefused
from ingest.http.problems import Problem, problem_of

SECRET = "0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000


def sign(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def unsigned(claims: dict[str, Any], algorithm: str) -> str:
    def part(document: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}."


def refusal(token: str, secret: str | None = SECRET) -> Problem:
    with pytest.raises(TokenRefused) as caught:
        Tokens(secret, lambda: NOW).claims_of(token)
    problem = problem_of(caught.value)
    assert problem.status == 401
    assert problem.headers["WWW-Authenticate"] == (
        f'Bearer error="invalid_token", error_description="{problem.message}"'
    )
    return problem


def test_a_good_token() -> None:
    token = sign({"role": "writer", "exp": NOW + 60, "aud": ["any"]})
    claims = Tokens(SECRET, lambda: NOW).claims_of(token)
    assert claims.authenticated
    assert claims.values["role"] == "writer"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"exp": None},
        {"exp": NOW - 20},  # within the skew
        {"exp": NOW + 0.5},
        {"exp": 10**400},
        {"nbf": NOW + 20},
        {"iat": NOW + 20},
        {"iss": 5, "sub": 6},  # nobody asked for them
    ],
)
def test_times_that_are_good(claims: dict[str, Any]) -> None:
    assert Tokens(SECRET, lambda: NOW).claims_of(raw_token(json.dumps(claims))).authenticated


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": NOW - 40}, "JWT expired"),
        ({"nbf": NOW + 60}, "JWT not yet valid"),
        ({"iat": NOW + 60}, "JWT issued at future"),
        ({"exp": "soon"}, "The JWT 'exp' claim must be a number"),
        ({"exp": True}, "The JWT 'exp' claim must be a number"),
        ({"exp": float("nan")}, "The JWT 'exp' claim must be a number"),
        ({"nbf": [1]}, "The JWT 'nbf' claim must be a number"),
        ({"iat": {}}, "The JWT 'iat' claim must be a number"),
    ],
)
def test_times_that_are_not(claims: dict[str, Any], message: str) -> None:
    problem = refusal(raw_token(json.dumps(claims)))
    assert (problem.code, problem.message) == ("PGRST303", message)


@pytest.mark.parametrize("payload", ["[]", "3", "{", '"role"', "\xff"])
def test_claims_must_be_an_object(payload: str) -> None:
    assert refusal(raw_token(payload)).message == "Parsing claims failed"


def raw_token(payload: str) -> str:
    return jwt.PyJWS().encode(payload.encode("latin-1"), SECRET, algorithm="HS256")


def test_another_key() -> None:
    problem = refusal(sign({"role": "writer"}, secret="x" * 32))
    assert (problem.code, problem.message) == ("PGRST301", "No suitable key or wrong key type")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "RS256", "HS512"])
def test_no_algorithm_but_ours(algorithm: str) -> None:
    problem = refusal(unsigned({"role": "writer"}, algorithm))
    assert (problem.code, problem.message) == (
        "PGRST301",
        "Wrong or unsupported encoding algorithm",
    )


def test_hs512_with_our_key_is_not_ours() -> None:
    assert (
        "algorithm"
        in refusal(sign({"role": "writer"}, secret=SECRET * 2, algorithm="HS512")).message
    )


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "Empty JWT is sent in Authorization header"),
        ("abc", "Expected 3 parts in JWT; got 1"),
        ("a.b.c.d", "Expected 3 parts in JWT; got 4"),
        ("a.b.c", "JWT cryptographic operation failed"),
        ("!!.??.--", "JWT cryptographic operation failed"),
        ("ü.ü.ü", "JWT cryptographic operation failed"),
        ("\udcff.\udcff.\udcff", "JWT cryptographic operation failed"),
    ],
)
def test_what_is_no_token(token: str, message: str) -> None:
    problem = refusal(token)
    assert (problem.code, problem.message) == ("PGRST301", message)


def test_without_a_secret_every_token_is_refused() -> None:
    problem = refusal(sign({"role": "writer"}), secret=None)
    assert problem.code == "PGRST300"
    assert "PROMGRES_JWT_SECRET" in (problem.hint or "")


@pytest.fixture(scope="module")
def private() -> dict[str, Any]:
    return {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }


@pytest.fixture(scope="module")
def key_set(private: dict[str, Any]) -> str:
    return json.dumps({"keys": [jwk(name, key.public_key()) for name, key in private.items()]})


class TestKeys:
    """Key sets: RS256, ES256, EdDSA, and secrets among them."""

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
    def test_each_algorithm(self, private: dict[str, Any], key_set: str, algorithm: str) -> None:
        tokens = Tokens(key_set, lambda: NOW)
        for headers in ({"kid": algorithm}, {"kid": "unknown"}, {}):
            signed = jwt.encode({"role": "x"}, private[algorithm], algorithm, headers=headers)
            assert tokens.claims_of(signed).role == "x"
        other = ed25519.Ed25519PrivateKey.generate()
        assert refusal(jwt.encode({}, other, "EdDSA"), key_set).message == (
            "No suitable key or wrong key type"
        )

    def test_a_public_key_is_no_secret(self, private: dict[str, Any], key_set: str) -> None:
        """Whoever knows a public key must not sign with it: HS256 is no algorithm of these keys."""
        public = private["RS256"].public_key()
        pem = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for secret in (pem, json.dumps(jwk("RS256", public)).encode(), b"", key_set.encode()):
            assert refusal(hs256({"role": "writer"}, secret), key_set).message == (
                "Wrong or unsupported encoding algorithm"
            )
        secrets = {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("=")}
        mixed = json.dumps({"keys": [jwk("RS256", public), secrets]})
        assert refusal(hs256({"role": "writer"}, pem), mixed).code == "PGRST301"
        assert Tokens(mixed, lambda: NOW).claims_of(hs256({"role": "a"}, b"s" * 32)).role == "a"

    @pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS512", "ES384", "rs256"])
    def test_other_algorithms(self, key_set: str, algorithm: str) -> None:
        assert refusal(unsigned({"role": "writer"}, algorithm), key_set).code == "PGRST301"

    def test_one_key_is_a_set(self, private: dict[str, Any]) -> None:
        single = json.dumps(jwk("ES256", private["ES256"].public_key()))
        signed = jwt.encode({}, private["ES256"], "ES256")
        assert Tokens(single, lambda: NOW).claims_of(signed).authenticated

    def test_a_thousand_keys_are_not_all_tried(self, private: dict[str, Any]) -> None:
        public = private["EdDSA"].public_key()
        others = [ed25519.Ed25519PrivateKey.generate().public_key() for _ in range(1000)]
        keys = [jwk(f"k{number}", each, "EdDSA") for number, each in enumerate(others)]
        tokens = Tokens(json.dumps({"keys": [*keys, jwk("last", public, "EdDSA")]}), lambda: NOW)
        signed = jwt.encode({}, private["EdDSA"], "EdDSA", headers={"kid": "last"})
        assert tokens.claims_of(signed).authenticated
        with pytest.raises(TokenRefused):
            tokens.claims_of(jwt.encode({}, private["EdDSA"], "EdDSA"))

    @pytest.mark.parametrize(
        "secret",
        [
            "{",
            "{}",
            '{"keys": 5}',
            '{"keys": [5]}',
            '{"keys": []}',
            '{"kty": "RSA", "n": "AQAB", "e": "AQAB"}',
            '{"kty": "oct", "k": "c2hvcnQ"}',
            '{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}',
            '{"kty": "RSA", "use": "enc", "n": "x", "e": "AQAB"}',
        ],
    )
    def test_what_is_no_key_is_refused_at_start(self, secret: str) -> None:
        with pytest.raises(ValueError, match=r"key|JSON|list") as caught:
            Tokens(secret)
        assert "c2hvcnQ" not in str(caught.value)


class TestAudience:
    @pytest.mark.parametrize("audience", [None, [], "us", ["them", "us"]])
    def test_ours(self, audience: object) -> None:
        assert Tokens(SECRET, lambda: NOW, audience="us").claims_of(sign({"aud": audience}))

    @pytest.mark.parametrize("audience", ["them", ["them"], ""])
    def test_another(self, audience: object) -> None:
        with pytest.raises(TokenRefused, match="JWT not in audience"):
            Tokens(SECRET, lambda: NOW, audience="us").claims_of(sign({"aud": audience}))

    @pytest.mark.parametrize("audience", [5, [5], {"a": "us"}])
    def test_no_audience(self, audience: object) -> None:
        assert refusal(sign({"aud": audience})).message == (
            "The JWT 'aud' claim must be a string or an array of strings"
        )


class TestRoleClaim:
    @pytest.mark.parametrize(
        ("path", "claims", "role"),
        [
            ("role", {"role": "a"}, "a"),
            ("$.role", {"role": "a"}, "a"),
            (".app.roles[1]", {"app": {"roles": ["a", "b"]}}, "b"),
            ('$.app["my role"]', {"app": {"my role": "c"}}, "c"),
            ('."my role"', {"my role": "c"}, "c"),
            ("$.app.roles[9]", {"app": {"roles": ["a"]}}, "web_anon"),
            ("$.app.role", {"role": "writer"}, "web_anon"),
            ("role", {"role": None}, None),
        ],
    )
    def test_where_the_role_is(self, path: str, claims: dict[str, Any], role: object) -> None:
        tokens = Tokens(SECRET, lambda: NOW, role_path=parse_path(path))
        assert tokens.claims_of(sign(claims)).role == role

    @pytest.mark.parametrize("path", ["", "$", "a b", "$.", "$.a[", "$..a", '$.a[?(@ == "x")]'])
    def test_what_is_no_path(self, path: str) -> None:
        with pytest.raises(ValueError, match="not a path"):
            parse_path(path)


def jwk(kid: str, key: Any, algorithm: str | None = None) -> dict[str, Any]:
    maker = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[algorithm or kid]
    return {"kid": kid, **maker.to_jwk(key, as_dict=True)}


def hs256(claims: dict[str, Any], secret: bytes) -> str:
    """A token as forgers make it: PyJWT would not sign with a public key."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = part(b'{"alg":"HS256"}')
    signed = f"{header}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), 'sha256'))}"

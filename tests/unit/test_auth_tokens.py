import base64
import json
from typing import Any

import jwt
import pytest

from ingest.auth.tokens import Tokens
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

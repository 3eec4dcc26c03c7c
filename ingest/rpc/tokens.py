"""Who a request says it is, and whether its token proves it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from ingest.http.problems import Problem, bad_token

SKEW_SECONDS = 30
"""Clocks that differ by less do not make a token early or late."""

UNVERIFIED = "PGRST301"
CLAIMS = "PGRST303"
WITHOUT_KEY = "PGRST300"


@dataclass(frozen=True, slots=True)
class Claims:
    """What is known of the sender; nothing, without a token."""

    values: Mapping[str, Any] = field(default_factory=dict)
    authenticated: bool = False


class Tokens:
    """Verifies bearer tokens: JWT, signed with HS256 and our secret, nothing else.

    Args:
        secret: at least 32 bytes; without one every token is refused.
        clock: seconds since 1970.
    """

    def __init__(self, secret: str | None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._secret = secret.encode() if secret else None
        self._verifier = jwt.PyJWS(algorithms=["HS256"])

    def claims_of(self, token: str) -> Claims:
        """Claims of a bearer token.

        Raises:
            Problem: 401, it is not believed or not valid now.
        """
        values = _parse(self._verify(token))
        _check_times(values, self._clock())
        return Claims(values, authenticated=True)

    def _verify(self, token: str) -> bytes:
        if not token:
            raise bad_token(UNVERIFIED, "Empty JWT is sent in Authorization header")
        if self._secret is None:
            raise _no_secret()
        parts = token.count(".") + 1
        if parts != 3:
            raise bad_token(UNVERIFIED, f"Expected 3 parts in JWT; got {parts}")
        if not token.isascii():
            raise bad_token(UNVERIFIED, "JWT cryptographic operation failed")
        try:
            payload: bytes = self._verifier.decode(token, self._secret, algorithms=["HS256"])
        except jwt.InvalidAlgorithmError:
            raise bad_token(UNVERIFIED, "Wrong or unsupported encoding algorithm") from None
        except jwt.InvalidSignatureError:
            details = "None of the keys was able to decode the JWT"
            message = "No suitable key or wrong key type"
            raise bad_token(UNVERIFIED, message, details) from None
        except jwt.PyJWTError:
            raise bad_token(UNVERIFIED, "JWT cryptographic operation failed") from None
        return payload


def _no_secret() -> Problem:
    """PostgREST answers 500 here; it is the request that must change, so it is 401."""
    problem = bad_token(WITHOUT_KEY, "Tokens are refused: this server has no JWT secret")
    problem.hint = "Send the request without a token, or set PROMGRES_JWT_SECRET on the server"
    return problem


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise bad_token(CLAIMS, "Parsing claims failed")
    return values


def _check_times(values: Mapping[str, Any], now: float) -> None:
    expires = _time(values, "exp")
    not_before = _time(values, "nbf")
    issued = _time(values, "iat")
    if expires is not None and now - SKEW_SECONDS > expires:
        raise bad_token(CLAIMS, "JWT expired")
    if not_before is not None and now + SKEW_SECONDS < not_before:
        raise bad_token(CLAIMS, "JWT not yet valid")
    if issued is not None and now + SKEW_SECONDS < issued:
        raise bad_token(CLAIMS, "JWT issued at future")


def _time(values: Mapping[str, Any], name: str) -> float | None:
    """Seconds since 1970. NaN, which Python's JSON lets through, would never expire."""
    value = values.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and not math.isfinite(value)):
        raise bad_token(CLAIMS, f"The JWT '{name}' claim must be a number")
    number: float = value
    return number

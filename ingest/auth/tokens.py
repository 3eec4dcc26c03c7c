"""Who a request says it is, and whether its token proves it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from ingest.errors import TokenRefused

SKEW_SECONDS = 30
"""Clocks that differ by less do not make a token early or late."""

UNVERIFIED, CLAIMS, NO_SECRET = "unverified", "claims", "no secret"
ANONYMOUS_ROLE = "web_anon"
"""Of a token that names none, and of requests without one."""


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
            TokenRefused: it is not believed or not valid now.
        """
        values = _parse(self._verify(token))
        _check_times(values, self._clock())
        return Claims(values, authenticated=True)

    def _verify(self, token: str) -> bytes:
        if not token:
            raise TokenRefused("Empty JWT is sent in Authorization header", UNVERIFIED)
        if self._secret is None:
            # PostgREST answers 500 here; it is the request that must change, so it is 401.
            raise TokenRefused(
                "Tokens are refused: this server has no JWT secret",
                NO_SECRET,
                hint="Send the request without a token, or set PROMGRES_JWT_SECRET on the server",
            )
        parts = token.count(".") + 1
        if parts != 3:
            raise TokenRefused(f"Expected 3 parts in JWT; got {parts}", UNVERIFIED)
        if not token.isascii():
            raise TokenRefused("JWT cryptographic operation failed", UNVERIFIED)
        try:
            payload: bytes = self._verifier.decode(token, self._secret, algorithms=["HS256"])
        except jwt.InvalidAlgorithmError:
            raise TokenRefused("Wrong or unsupported encoding algorithm", UNVERIFIED) from None
        except jwt.InvalidSignatureError:
            details = "None of the keys was able to decode the JWT"
            message = "No suitable key or wrong key type"
            raise TokenRefused(message, UNVERIFIED, details) from None
        except jwt.PyJWTError:
            raise TokenRefused("JWT cryptographic operation failed", UNVERIFIED) from None
        return payload


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise TokenRefused("Parsing claims failed", CLAIMS)
    return values


def _check_times(values: Mapping[str, Any], now: float) -> None:
    expires = _time(values, "exp")
    not_before = _time(values, "nbf")
    issued = _time(values, "iat")
    if expires is not None and now - SKEW_SECONDS > expires:
        raise TokenRefused("JWT expired", CLAIMS)
    if not_before is not None and now + SKEW_SECONDS < not_before:
        raise TokenRefused("JWT not yet valid", CLAIMS)
    if issued is not None and now + SKEW_SECONDS < issued:
        raise TokenRefused("JWT issued at future", CLAIMS)


def _time(values: Mapping[str, Any], name: str) -> float | None:
    """Seconds since 1970. NaN, which Python's JSON lets through, would never expire."""
    value = values.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and not math.isfinite(value)):
        raise TokenRefused(f"The JWT '{name}' claim must be a number", CLAIMS)
    number: float = value
    return number

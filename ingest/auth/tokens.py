"""Who a request says it is, and whether its token proves it."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from ingest.auth.jwks import parse_keys, usable_keys
from ingest.errors import TokenRefused

MOST_TRIED = 10
"""Keys that a token is tried with: whoever sends one with the `kid` of none makes us try."""
SKEW_SECONDS = 30
"""Clocks that differ by less do not make a token early or late."""

UNVERIFIED, CLAIMS, NO_SECRET = "unverified", "claims", "no secret"
ANONYMOUS_ROLE = "web_anon"
"""Of a token that names none, and of requests without one."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What is known of the sender; nothing, without a token.

    Attributes:
        role: that the token asks for, whatever it is.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    authenticated: bool = False
    role: Any = ANONYMOUS_ROLE


class Tokens:
    """Verifies bearer tokens: JWT, signed with one of our keys and an algorithm of that key.

    Args:
        secret: as `jwks.parse_keys` takes it; without one every token is refused.
        clock: seconds since 1970.
        audience: that a token which names one must name.
        role_path: where the role is among the claims, as `parse_path` gives it.

    Raises:
        ValueError: the secret holds no key.
    """

    def __init__(
        self,
        secret: str | None,
        clock: Callable[[], float] = time.time,
        *,
        audience: str | None = None,
        role_path: tuple[str | int, ...] = ("role",),
    ) -> None:
        self._clock = clock
        self._audience = audience
        self._role_path = role_path
        self._keys = parse_keys(secret) if secret else ()
        self._algorithms = sorted({name for key in self._keys for name in key.algorithms})
        self._verifier = jwt.PyJWS(algorithms=self._algorithms)

    def claims_of(self, token: str) -> Claims:
        """Claims of a bearer token.

        Raises:
            TokenRefused: it is not believed or not valid now.
        """
        values = _parse(self._verify(token))
        _check_times(values, self._clock())
        _check_audience(values.get("aud"), self._audience)
        return Claims(values, authenticated=True, role=_role_at(values, self._role_path))

    def _verify(self, token: str) -> bytes:
        if not token:
            raise TokenRefused("Empty JWT is sent in Authorization header", UNVERIFIED)
        if not self._keys:
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
            header = self._verifier.get_unverified_header(token)
        except jwt.PyJWTError:
            raise TokenRefused("JWT cryptographic operation failed", UNVERIFIED) from None
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise TokenRefused("Wrong or unsupported encoding algorithm", UNVERIFIED)
        for each in usable_keys(self._keys, algorithm, header.get("kid"), MOST_TRIED):
            try:
                payload: bytes = self._verifier.decode(token, each.key, algorithms=[algorithm])
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError:
                raise TokenRefused("JWT cryptographic operation failed", UNVERIFIED) from None
            return payload
        details = "None of the keys was able to decode the JWT"
        raise TokenRefused("No suitable key or wrong key type", UNVERIFIED, details)


def parse_path(text: str) -> tuple[str | int, ...]:
    """The steps of `role`, `$.role`, `.a.b`, `$.a["b c"][0]`.

    Raises:
        ValueError: it is no such path.
    """
    if re.fullmatch(r"\w+", text):
        return (text,)
    path: list[str | int] = []
    at = 1 if text.startswith("$") else 0
    while at < len(text):
        found = _STEP.match(text, at)
        if not found:
            raise ValueError(f"not a path into the claims: {text[at:]!r} cannot be read")
        at = found.end()
        *names, number = found.groups()
        path.append(next(filter(None, names)) if number is None else int(number))
    if not path:
        raise ValueError("not a path into the claims: it has no step")
    return tuple(path)


_STEP = re.compile(r"""\.(?:"([^"]+)"|([\w-]+))|\[(?:"([^"]+)"|'([^']+)')\]|\[(\d{1,4})\]""")


def _role_at(values: Any, path: tuple[str | int, ...]) -> Any:
    """What stands there, whatever it is; the anonymous role if nothing does."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(values, list) or step >= len(values):
                return ANONYMOUS_ROLE
        elif not isinstance(values, Mapping) or step not in values:
            return ANONYMOUS_ROLE
        values = values[step]
    return values


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        values = json.loads(payload)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise TokenRefused("Parsing claims failed", CLAIMS)
    return values


def _check_audience(audience: Any, ours: str | None) -> None:
    """Of a token that names an audience, we must be one, if we have a name."""
    if isinstance(audience, str):
        audience = [audience]
    if audience is not None and (
        not isinstance(audience, list) or not all(isinstance(each, str) for each in audience)
    ):
        raise TokenRefused("The JWT 'aud' claim must be a string or an array of strings", CLAIMS)
    if ours is not None and audience and ours not in audience:
        raise TokenRefused("JWT not in audience", CLAIMS)


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

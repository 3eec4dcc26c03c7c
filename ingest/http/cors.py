"""Pages of any origin may read: what they see is decided by tokens, not by cookies."""

from __future__ import annotations

from collections.abc import Mapping

EXPOSED = (
    "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server,"
    " Transfer-Encoding, Range-Unit, Link, X-Next-Cursor"
)
ALLOWED_METHODS = "GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD"
SIMPLE_HEADERS = "Accept, Accept-Language, Content-Language"
MAX_AGE_SECONDS = 86400


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks if it may ask."""
    return (
        method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers
    )


def preflight_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Yes, to any method and header."""
    asked = headers.get("Access-Control-Request-Headers", "")
    names = ", ".join(part for part in ("Authorization", asked, SIMPLE_HEADERS) if part)
    return {
        "Access-Control-Allow-Methods": ALLOWED_METHODS,
        "Access-Control-Allow-Headers": names,
        "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
    }


def cors_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What every answer to a page of another origin carries."""
    if "Origin" not in headers:
        return {}
    return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED}

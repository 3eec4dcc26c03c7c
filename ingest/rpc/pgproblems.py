"""What an error that PostgreSQL reports becomes over HTTP."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from ingest.http.problems import Problem

STATUS_OF_SQLSTATE = {
    "21000": 500,
    "23503": 409,
    "23505": 409,
    "25006": 405,  # a write in a GET, or in a function that is declared stable
    "26000": 500,  # a prepared statement that a pooler took away is not the client's fault
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
    "53400": 500,
    "57P01": 503,
    "57P02": 503,
    "57P03": 503,
    "P0001": 400,
}
STATUS_OF_CLASS = {
    "08": 503, "09": 500, "0L": 403, "0P": 403, "25": 500, "28": 403, "2D": 500, "38": 500,
    "39": 500, "3B": 500, "40": 500, "53": 503, "54": 500, "55": 500, "57": 500, "58": 500,
    "F0": 500, "HV": 500, "P0": 500, "XX": 500,
}  # fmt: skip
INSUFFICIENT_PRIVILEGE = "42501"


def problem_of(
    error: asyncpg.PostgresError, authenticated: bool, hint: str | None = None
) -> Problem:
    """Message, detail, hint and SQLSTATE pass through; the status follows from the SQLSTATE.

    Args:
        authenticated: whether the request came with a token: what it may not do is then 403, else
            401, because a token may help.
        hint: in place of PostgreSQL's own.
    """
    sqlstate = error.sqlstate or "XX000"
    if sqlstate == "PGRST":
        return _raised_document(error)
    if sqlstate == INSUFFICIENT_PRIVILEGE and not authenticated:
        return _problem(401, error, {"WWW-Authenticate": "Bearer"})
    return _problem(_status(sqlstate), error, hint=hint)


def _status(sqlstate: str) -> int:
    if sqlstate == INSUFFICIENT_PRIVILEGE:
        return 403
    if sqlstate.startswith("PT"):
        return _http_status(sqlstate[2:])
    default = STATUS_OF_CLASS.get(sqlstate[:2], 400)
    return STATUS_OF_SQLSTATE.get(sqlstate, default)


def _http_status(text: object) -> int:
    """A status that SQL chose; what can be none is 500."""
    number = int(text) if isinstance(text, int | str) and str(text).isdecimal() else 0
    return number if 200 <= number <= 599 else 500


def _problem(
    status: int,
    error: asyncpg.PostgresError,
    headers: dict[str, str] | None = None,
    hint: str | None = None,
) -> Problem:
    message = error.message or type(error).__name__
    return Problem(
        status, error.sqlstate or "XX000", message, error.detail, hint or error.hint, headers
    )


def _raised_document(error: asyncpg.PostgresError) -> Problem:
    """`RAISE SQLSTATE 'PGRST'`: MESSAGE is the JSON body, DETAIL the JSON of status and headers."""
    message, detail = _object(error.message), _object(error.detail)
    headers = detail.get("headers", {}) if detail else {}
    if not message or not detail or not isinstance(headers, dict) or "code" not in message:
        return Problem(
            500,
            "PGRST121",
            "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error",
            hint='MESSAGE needs "code" and "message", DETAIL "status" and "headers", both JSON',
        )
    texts = {key: _text(message.get(key)) for key in ("code", "message", "details", "hint")}
    return Problem(
        _http_status(detail.get("status")),
        texts["code"] or "",
        texts["message"] or "",
        texts["details"],
        texts["hint"],
        {_header(name): _header(value) for name, value in headers.items()},
    )


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        document = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _header(value: object) -> str:
    """Header text in which no line ends early."""
    return "".join(character for character in str(value) if character.isprintable())

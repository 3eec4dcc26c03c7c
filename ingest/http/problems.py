"""Refusals as the read port gives them, in the form of PostgREST: always `code`, `message`,
`details`, `hint`; and which of our errors becomes which of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ingest.auth.credentials import challenge_of
from ingest.errors import (
    BadBody,
    Busy,
    DatabaseAway,
    KeyRefused,
    MethodNotAllowed,
    PromgresError,
    QueryRefused,
    RequestError,
    RoleRefused,
    TokenRefused,
    TooSlow,
    Unavailable,
)
from ingest.logs import without_secrets

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
CODE_OF_TOKEN = {"no secret": "PGRST300", "unverified": "PGRST301", "claims": "PGRST303"}
CODE_OF_STATUS = {404: "PGRST125", 405: "PGRST117", 406: "PGRST107"}
"""Of requests; all else of a body is `PGRST102`, of a query `PGRST100`."""
RETRY_AFTER_SECONDS = 1
REFUSED = {
    "description": "It must change (4xx), or cannot be answered now (503, 504); the body says why",
    "schema": {
        "type": "object",
        "properties": {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "details": {"type": "string", "x-nullable": True},
            "hint": {"type": "string", "x-nullable": True},
        },
        "required": ["code", "message", "details", "hint"],
    },
}
"""Such an answer, in the OpenAPI document."""


class Problem(PromgresError):
    """An answer that is no success.

    Attributes:
        status: of the HTTP answer.
        code: `PGRSTnnn` as PostgREST's clients know them, or a SQLSTATE.
        headers: what the answer carries besides the usual ones.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: str | None = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.hint = hint
        self.headers = dict(headers or {})
        if status == 503:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))

    @property
    def body(self) -> bytes:
        """The JSON document with its four keys. What it quotes of a request may hold an API key:
        without its secret."""
        document = {
            "code": self.code,
            "message": self.message,
            "details": self.details,
            "hint": self.hint,
        }
        text = json.dumps(document, ensure_ascii=False)
        return without_secrets(text).encode("utf-8", "replace")


def problem_of(error: Exception, authenticated: bool = True, hint: str | None = None) -> Problem:
    """The document for an error of ours; of what the database said, message, detail, hint and
    SQLSTATE pass through, and the status follows from the SQLSTATE.

    Args:
        authenticated: whether the request came with a token: what it may not do is then 403, else
            401, because a token may help.
        hint: in place of PostgreSQL's own.
    """
    text = str(error)
    match error:
        case Problem():
            return error
        case TokenRefused():
            challenge = f'Bearer error="invalid_token", error_description="{text}"'
            headers = {"WWW-Authenticate": challenge}
            code = CODE_OF_TOKEN[error.fault]
            return Problem(401, code, text, error.details, error.hint, headers)
        case KeyRefused():
            headers = {"WWW-Authenticate": challenge_of(error)}
            if error.reason == "missing":
                message = "Anonymous access is disabled"
                return Problem(error.status, "PGRST302", message, text, headers=headers)
            code = "42501" if error.status == 403 else "PGRST301"
            return Problem(error.status, code, text, headers=headers)
        case RequestError():
            code = "PGRST100"
            if isinstance(error, BadBody) or error.status in (408, 413, 415):
                code = "PGRST102"
            code, headers = CODE_OF_STATUS.get(error.status, code), {}
            if isinstance(error, MethodNotAllowed):
                headers["Allow"] = error.allow
            elif isinstance(error, TooSlow):
                headers["Connection"] = "close"
            return Problem(error.status, code, text, headers=headers)
        case RoleRefused():
            return Problem(403, error.sqlstate, text)
        case QueryRefused():
            return _of_database(error, authenticated, hint)
        case DatabaseAway():
            code, what = ("PGRST001", "client") if error.broke else ("PGRST000", "connection")
            return Problem(503, code, f"Database {what} error. Retrying the connection.")
        case Busy():
            return Problem(504 if error.waited else 503, "PGRST003", text, error.details)
        case Unavailable():
            headers = {"Retry-After": str(error.retry_after_seconds)}
            return Problem(503, "PGRST000", text, headers=headers)
    return Problem(500, "PGRSTX00", "Internal server error")


def _of_database(error: QueryRefused, authenticated: bool, hint: str | None) -> Problem:
    sqlstate, text = error.sqlstate, str(error)
    if sqlstate == "PGRST":
        return _raised_document(error)
    headers = None
    if sqlstate == INSUFFICIENT_PRIVILEGE:
        status = 403 if authenticated else 401
        headers = None if authenticated else {"WWW-Authenticate": "Bearer"}
    elif sqlstate.startswith("PT"):
        status = _http_status(sqlstate[2:])
    else:
        status = STATUS_OF_SQLSTATE.get(sqlstate, STATUS_OF_CLASS.get(sqlstate[:2], 400))
    if status == 401:
        hint = None
    return Problem(status, sqlstate, text, error.detail, hint or error.hint, headers)


def _http_status(text: object) -> int:
    """A status that SQL chose; what can be none is 500."""
    number = int(text) if isinstance(text, int | str) and str(text).isdecimal() else 0
    return number if 200 <= number <= 599 else 500


def _raised_document(error: QueryRefused) -> Problem:
    """`RAISE SQLSTATE 'PGRST'`: MESSAGE is the JSON body, DETAIL the JSON of status and headers."""
    message, detail = _object(str(error)), _object(error.detail)
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

"""Errors of the read side as clients see them: always `code`, `message`, `details`, `hint`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ingest.errors import PromgresError
from ingest.logs import without_secrets

RETRY_AFTER_SECONDS = 1


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


def bad_token(code: str, message: str, details: str | None = None) -> Problem:
    """A token that is not believed: 401 with the reason in `WWW-Authenticate` too."""
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return Problem(401, code, message, details, headers={"WWW-Authenticate": challenge})


def bad_query(message: str, details: str | None = None, hint: str | None = None) -> Problem:
    """A query string that cannot be served."""
    return Problem(400, "PGRST100", message, details, hint)


def bad_body(message: str = "Empty or invalid json") -> Problem:
    """A body that cannot be read as arguments."""
    return Problem(400, "PGRST102", message)


def no_role(role: object) -> Problem:
    """A role that the token may name but `authenticator` may not assume; or there is none."""
    return Problem(403, "42501", f'permission denied to set role "{role}"')


def no_such_path() -> Problem:
    """Neither a function nor a page of ours."""
    return Problem(404, "PGRST125", "Invalid path specified in request URL")


def database_away(code: str = "PGRST000") -> Problem:
    """No connection (`PGRST000`), or one that broke while it was used (`PGRST001`)."""
    message = "Database connection error. Retrying the connection."
    if code == "PGRST001":
        message = "Database client error. Retrying the connection."
    return Problem(503, code, message)


def too_long(length: int, most: int) -> Problem:
    """An answer that is longer than we give; nothing of it was sent."""
    return Problem(
        400,
        "PGRSTX03",
        f"The answer has {length:,} bytes; {most:,} at most are given (api.max_answer_bytes)",
        None,
        "Ask for less at once",
    )


def not_migrated() -> Problem:
    """The database answers, but what the read side needs is not in it."""
    return Problem(
        503,
        "PGRST002",
        "Could not query the database for the schema cache. Retrying.",
        "The database is not migrated",
        "Run `promgres migrate`",
    )

"""Every error that Promgres raises on purpose. None of them knows an API: each API has a function
that gives them its words (`remote_write.answers`, `records.answers`, `http.problems`).

::

    PromgresError
    ├── OperatorError            the person at the terminal can mend it: one line, exit status 2
    │   ├── ConfigError
    │   ├── DatabaseUnreachable
    │   └── MigrationError
    ├── RequestError             rejected: a 4xx that says what to change
    │   ├── BadRequest           400
    │   │   ├── BadBody          400, where an API tells bodies from queries
    │   │   └── RecordsRefused   400, which items and why (wire.records.body)
    │   ├── KeyRefused           401 or 403
    │   │   └── TokenRefused     401
    │   ├── NotFound             404
    │   ├── MethodNotAllowed     405
    │   ├── NotAcceptable        406
    │   ├── TooSlow              408
    │   ├── PayloadTooLarge      413
    │   └── UnsupportedMedia     415
    ├── PromqlError              a PromQL query without an answer; `error_type` as Prometheus
    │   ├── PromqlInvalid        it cannot be asked
    │   │   └── PromqlSyntax     it is none: where, by line and column
    │   ├── PromqlFailure        its evaluation ends in an error
    │   └── PromqlLimit          it would need more than a query may
    ├── QueryRefused             the database answers a question with an error
    │   └── RoleRefused          it does not let us take a role
    ├── Unavailable              ours: 503 with Retry-After, the sender tries again
    │   ├── OverQuota            its tenant has had its share for now: the same, or a 429
    │   ├── Busy                 others are before it: the same, or a 504
    │   └── DatabaseAway         no connection, or one that broke while it was used
    ├── Invalid                  something of a request, whose other parts may be stored
    │   ├── InvalidSeries
    │   ├── InvalidHistogram
    │   └── InvalidItem          a measure or an event: with it, nothing of its request is
    └── Problem                  a document of the read port (http.problems), for what only it knows
"""

from __future__ import annotations


class PromgresError(Exception):
    """Base of all errors raised on purpose."""


class OperatorError(PromgresError):
    """Something the operator can mend. The message is one line and says what to do."""


class ConfigError(OperatorError):
    """A setting is wrong."""


class DatabaseUnreachable(OperatorError):
    """The database does not answer at start-up."""


class MigrationError(OperatorError):
    """The database cannot be brought to this version."""


class RequestError(PromgresError):
    """The sender must change something; a retry of the same request cannot succeed."""

    status = 400


class BadRequest(RequestError):
    """The body or a parameter cannot be understood."""

    status = 400


class BadBody(BadRequest):
    """The body cannot be read, whatever the query says."""


class KeyRefused(RequestError):
    """No credentials or wrong ones (401), or ones that do not allow this (403).

    Args:
        message: for the sender; what it sent is not in it.
        reason: one word, for metrics and the audit.
        key_id: of the key that was sent, if that has the form of a key.
        tenant_id: whose key it is, if that is proved.
        is_legacy: the key came in `X-PMETRICS-API-KEY`, whose senders know 403 only.
    """

    def __init__(
        self,
        message: str,
        reason: str,
        status: int = 401,
        key_id: str | None = None,
        tenant_id: int | None = None,
        is_legacy: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.key_id = key_id
        self.tenant_id = tenant_id
        self.is_legacy = is_legacy


class TokenRefused(KeyRefused):
    """A token that is not believed, or not valid now.

    Args:
        fault: `unverified`, `claims` (what it says) or `no secret` (nobody here could tell).
    """

    def __init__(
        self, message: str, fault: str, details: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, "token")
        self.fault = fault
        self.details = details
        self.hint = hint


class NotFound(RequestError):
    """Nothing is at this path."""

    status = 404


class MethodNotAllowed(RequestError):
    """Another HTTP method is needed here.

    Args:
        allow: those that are taken, as the header of that name has them.
    """

    status = 405

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class NotAcceptable(RequestError):
    """The answer cannot have the form that the client takes."""

    status = 406


class TooSlow(RequestError):
    """The body did not arrive in time."""

    status = 408


class PayloadTooLarge(RequestError):
    """The body is longer than the limit."""

    status = 413


class UnsupportedMedia(RequestError):
    """Content-Type or Content-Encoding that this endpoint does not take."""

    status = 415


class Invalid(PromgresError):
    """Something of a request can never be stored. Not a `RequestError`: its request may be."""


class InvalidSeries(Invalid):
    """One series."""


class InvalidHistogram(Invalid):
    """One native histogram breaks a rule."""


class InvalidItem(Invalid):
    """One measure or event.

    Args:
        limit: the setting that says so, if one does.
    """

    def __init__(self, message: str, limit: str | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class PromqlError(PromgresError):
    """A PromQL query that has no answer. The message is Prometheus' own."""

    error_type = "execution"


class PromqlInvalid(PromqlError):
    """A query that cannot be asked, whatever is stored."""

    error_type = "bad_data"


class PromqlSyntax(PromqlInvalid):
    """Text that is no query.

    Args:
        message: what is wrong with it.
        text: the query.
        start: where, in characters; the message tells line and column (in bytes, as Prometheus).
    """

    def __init__(self, message: str, text: str, start: int) -> None:
        super().__init__(f"{position_text(text, start)}: parse error: {message}")


class PromqlFailure(PromqlError):
    """The evaluation of a query ends in an error."""


class PromqlLimit(PromqlFailure):
    """A query that would need more samples or series than one may."""


def position_text(text: str, start: int) -> str:
    """`line:column` of a place in a query, both from 1, columns in bytes of UTF-8."""
    if not text:
        return "unknown position"
    before = text[:start].encode(errors="surrogateescape")
    return f"{before.count(10) + 1}:{len(before) - before.rfind(10)}"


class QueryRefused(PromgresError):
    """The database answers a question with an error.

    Args:
        message: of the database.
        sqlstate: its code; `XX000` if it says none.
        detail, hint: as it adds them.
    """

    def __init__(
        self,
        message: str,
        sqlstate: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate or "XX000"
        self.detail = detail
        self.hint = hint


class RoleRefused(QueryRefused):
    """A role that a token names, and that our login may not assume; or there is none."""

    def __init__(self, role: object) -> None:
        super().__init__(f'permission denied to set role "{role}"', "42501")


class Unavailable(PromgresError):
    """Our trouble: nothing is lost if the sender tries again.

    Args:
        message: what happened, for the sender's log.
        retry_after_seconds: what `Retry-After` will say.
        blames_request: the request itself may be why, if the database takes others meanwhile.
    """

    def __init__(
        self, message: str, retry_after_seconds: int = 1, blames_request: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.blames_request = blames_request


class OverQuota(Unavailable):
    """The tenant has had its share for now; nothing of the request is stored.

    To remote write 503 as any other trouble, because Prometheus drops what a 429 refuses; to
    everybody else 429. Both with Retry-After.
    """


class Busy(Unavailable):
    """Others are before it.

    Args:
        waited: it has waited for its turn, in vain.
    """

    def __init__(self, message: str, details: str | None = None, waited: bool = False) -> None:
        super().__init__(message)
        self.details = details
        self.waited = waited


class DatabaseAway(Unavailable):
    """There is no connection to the database.

    Args:
        broke: there was one, and it broke while it was used: what it did is not known.
    """

    def __init__(self, broke: bool = False) -> None:
        super().__init__("the database is not reachable")
        self.broke = broke

"""Every error that Promgres raises on purpose.

::

    PromgresError
    ├── OperatorError            the person at the terminal can mend it: one line, exit status 2
    │   ├── ConfigError
    │   ├── DatabaseUnreachable
    │   └── MigrationError
    ├── RequestError             the sender's fault: a 4xx that says what to change
    │   ├── BadRequest           400
    │   ├── KeyRefused           401 or 403
    │   ├── MethodNotAllowed     405
    │   ├── PayloadTooLarge      413
    │   └── UnsupportedMedia     415
    ├── QueryRefused             the database answers a question with an error
    └── Unavailable              our trouble: 503 with Retry-After, the sender tries again
        └── OverQuota            its tenant has had its share for now: the same, or a 429
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


class KeyRefused(RequestError):
    """No credentials or wrong ones (401), or ones that do not allow this (403).

    Args:
        message: for the sender; what it sent is not in it.
        reason: one word, for metrics and the audit.
        key_id: of the key that was sent, if that has the form of a key.
        tenant_id: whose key it is, if that is proved.
        is_older: the key came in `X-PMETRICS-API-KEY`, whose senders know 403 only.
    """

    def __init__(
        self,
        message: str,
        reason: str,
        status: int = 401,
        key_id: str | None = None,
        tenant_id: int | None = None,
        is_older: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.key_id = key_id
        self.tenant_id = tenant_id
        self.is_older = is_older


class MethodNotAllowed(RequestError):
    """Another HTTP method is needed here."""

    status = 405


class PayloadTooLarge(RequestError):
    """The body is longer than the limit."""

    status = 413


class UnsupportedMedia(RequestError):
    """Content-Type or Content-Encoding that this endpoint does not take."""

    status = 415


class QueryRefused(PromgresError):
    """The database answers a question with an error.

    Args:
        message: of the database, in one line.
        sqlstate: its code, where that matters.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


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

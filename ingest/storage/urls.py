"""Which URL each side connects with."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

from ingest.config import Settings
from ingest.errors import ConfigError

API_LOGIN = "promgres_api"
"""The login role of the read side; `promgres migrate` creates it and sets its password."""

NO_API_LOGIN = (
    "the read side needs a login of its own: set PROMGRES_API_PASSWORD (and run `promgres migrate`"
    " with it once), or give --api-database-url"
)


def owner_database_url(settings: Settings, embedded_url: str | None = None) -> str:
    """The URL of the write side: as given, else of the embedded database that runs.

    Raises:
        ConfigError: neither is there.
    """
    if settings.database_url:
        return settings.database_url.get_secret_value()
    if embedded_url is None:
        raise ConfigError("no database: give --database-url, or start `promgres up`")
    return embedded_url


def api_database_url(settings: Settings, embedded_url: str | None = None) -> str:
    """The URL of the read side: as given, else the login `promgres_api` of the same database.

    Args:
        embedded_url: the superuser's URL of an embedded database that runs, if one does.

    Raises:
        ConfigError: no database is known, or only an owner's URL and no password for the login.
    """
    if settings.api_database_url:
        return settings.api_database_url.get_secret_value()
    owner_url = settings.database_url.get_secret_value() if settings.database_url else embedded_url
    if owner_url is None:
        raise ConfigError("no database: give --api-database-url, or start `promgres up`")
    return as_api_login(owner_url, settings.api_password)


def as_api_login(owner_url: str, password: SecretStr | None) -> str:
    """The same database for the login `promgres_api`; nothing of the owner's login remains.

    A URL of a Unix socket needs no password, the server's own rules decide there.

    Raises:
        ConfigError: not a PostgreSQL URL, or a password is needed and not given.
    """
    parts = _split(owner_url)
    hosts = parts.netloc.rpartition("@")[2]
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if password is None and not _is_socket(hosts, query):
        raise ConfigError(NO_API_LOGIN)
    kept = {key: value for key, value in query.items() if key not in {"user", "password"}}
    secret = f":{quote(password.get_secret_value(), safe='')}" if password else ""
    return urlunsplit(
        parts._replace(
            netloc=f"{API_LOGIN}{secret}@{hosts}",
            path=parts.path.rstrip("/") or _default_path(parts.username, query, parts.path),
            query=urlencode(kept, quote_via=quote, safe=""),
        )
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"the database URL cannot be read: {error}") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ConfigError("the database URL must begin with postgresql://")
    return parts


def _default_path(username: str | None, query: dict[str, str], path: str) -> str:
    """Without a database in the URL, PostgreSQL takes the user's name: keep the owner's."""
    owner = username or query.get("user")
    return f"/{owner}" if owner and "dbname" not in query and "database" not in query else path


def _is_socket(hosts: str, query: dict[str, str]) -> bool:
    host = hosts or query.get("host", "")
    return host.startswith(("/", "%2F", "%2f"))

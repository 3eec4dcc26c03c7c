"""Which URL each side connects with."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.storage.embedded.layout import API_LOGIN, INGEST_LOGIN
from ingest.storage.embedded.running import running_url

NO_API_LOGIN = (
    "the read side needs a login of its own: set PROMGRES_API_PASSWORD (and run `promgres migrate`"
    " with it once), or give --api-database-url"
)


def owner_database_url(settings: Settings, embedded_login: str = "postgres") -> str:
    """The owner's URL: as given, else of the embedded database that runs in the data directory.

    Args:
        embedded_login: who comes to an embedded one.

    Raises:
        ConfigError: none is given, and none runs.
        OperatorError: the one that runs belongs to another user.
    """
    if settings.database_url:
        return settings.database_url.get_secret_value()
    running = running_url(settings.data_dir, embedded_login)
    if running is None:
        raise ConfigError(
            f"no database: none runs in {settings.data_dir}; start `promgres up`, or give"
            " --database-url (PROMGRES_DATABASE_URL)"
        )
    return running


def ingest_database_url(settings: Settings) -> str:
    """The URL of the write side: the owner's, or of an embedded database its own login's.

    Raises:
        ConfigError, OperatorError: as for `owner_database_url`.
    """
    return owner_database_url(settings, INGEST_LOGIN)


def api_database_url(settings: Settings) -> str:
    """The URL of the read side: as given, else the login `promgres_api` of the same database.

    Raises:
        ConfigError: no database is known, or only an owner's URL and no password for the login.
    """
    if settings.api_database_url:
        return settings.api_database_url.get_secret_value()
    return as_api_login(owner_database_url(settings), settings.api_password)


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


def place_of(url: str) -> str:
    """Which database a URL means, whoever asks for it: host, port and name."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    hosts = parts.netloc.rpartition("@")[2]
    named = [query.get(name, "") for name in ("host", "port", "dbname", "database")]
    return " ".join([hosts, parts.path, *named]).strip()


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

"""What the children of `promgres up` get to know: the settings, but no secret of the other side."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from ingest.config import Settings
from ingest.config.addresses import reachable_address
from ingest.errors import OperatorError
from ingest.users import Side, User

_BY_FLAG = ("data_dir", "listen", "api_listen", "engine", "log_level", "log_format")
_OURS_ALONE = (
    "PROMGRES_DATABASE__LISTEN",
    "PROMGRES_DATABASE__PASSWORD",
    "PROMGRES_DATABASE__READER_PASSWORD",
    "PROMGRES_API_PASSWORD",
    "PROMGRES_KEY",  # of a client, in whose terminal we may have been started
)
_API_ONLY = ("PROMGRES_API_DATABASE_URL", "PROMGRES_JWT_SECRET")
_OF_ANY_LOGIN = (
    "PGHOST",
    "PGPORT",
    "PGDATABASE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCRL",
    "PGSSLNEGOTIATION",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMAXPROTOCOLVERSION",
    "PGTARGETSESSIONATTRS",
)
"""libpq's variables that say where the database is and how it is known, and nothing of whoever
logs in. All others are the owner's: password, password file, client certificate, service."""

Environment = dict[str, str]


def promgres_command(name: str) -> list[str]:
    """How a `promgres` command is started with the Python that runs now.

    Raises:
        OperatorError: the program `promgres` is not where pip puts it.
    """
    beside = Path(sysconfig.get_path("scripts")) / "promgres"
    called = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == "promgres" else None
    program = called or (str(beside) if beside.exists() else None)
    if program is None:
        raise OperatorError("the program `promgres` is not installed: pip install it")
    return [sys.executable, str(Path(program).absolute()), name]


def as_users(users: Mapping[Side, User]) -> Environment:
    """Whom the sides become, as the parent has chosen; empty if it is not root."""
    return {
        f"PROMGRES_USERS__{side.upper()}": user.name
        for side, user in users.items()
        if side != "server"
    }


def write_side_environment(
    settings: Settings, config_file: Path | None, database_url: str
) -> Environment:
    """Variables of `promgres ingest`: the owner's URL, nothing of the read side."""
    environment = {
        name: value
        for name, value in _shared(settings, config_file).items()
        if name not in _API_ONLY and not (settings.embedded and name.startswith("PG"))
    }
    return environment | {"PROMGRES_DATABASE_URL": database_url}


def read_side_environment(
    settings: Settings, config_file: Path | None, api_database_url: str
) -> Environment:
    """Variables of `promgres api`: its own URL, and nothing that lets it in as the owner."""
    environment = {
        name: value
        for name, value in _shared(settings, config_file).items()
        if name != "PROMGRES_DATABASE_URL" and (not name.startswith("PG") or name in _OF_ANY_LOGIN)
    }
    if settings.jwt_secret:
        environment["PROMGRES_JWT_SECRET"] = settings.jwt_secret.get_secret_value()
    return environment | {
        "PROMGRES_API_DATABASE_URL": api_database_url,
        "PROMGRES_API__WRITE_URL": settings.api.write_url
        or f"http://{reachable_address(settings.listen)}",
    }


def _shared(settings: Settings, config_file: Path | None) -> Environment:
    """Our own variables, overridden by what flags may have said."""
    environment = {k: v for k, v in os.environ.items() if k not in _OURS_ALONE}
    for name in _BY_FLAG:
        environment[f"PROMGRES_{name.upper()}"] = str(getattr(settings, name))
    if config_file:
        environment["PROMGRES_CONFIG"] = str(config_file.absolute())
    return environment

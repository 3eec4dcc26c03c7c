"""What the children of `promgres up` get to know: the settings, but no secret of the other side."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from ingest.config import Settings
from ingest.config.addresses import reachable_address
from ingest.errors import OperatorError

_BY_FLAG = ("data_dir", "listen", "api_listen", "engine", "log_level", "log_format")
_SERVER_ONLY = ("PROMGRES_DATABASE__LISTEN", "PROMGRES_DATABASE__PASSWORD")
_API_ONLY = ("PROMGRES_API_DATABASE_URL", "PROMGRES_API_PASSWORD", "PROMGRES_JWT_SECRET")

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


def write_side_environment(
    settings: Settings, config_file: Path | None, database_url: str
) -> Environment:
    """Variables of `promgres ingest`: the owner's URL, nothing of the read side."""
    environment = _shared(settings, config_file)
    for name in _API_ONLY:
        environment.pop(name, None)
    return environment | {"PROMGRES_DATABASE_URL": database_url}


def read_side_environment(
    settings: Settings, config_file: Path | None, api_database_url: str
) -> Environment:
    """Variables of `promgres api`: its own URL, not the owner's."""
    environment = _shared(settings, config_file)
    for name in ("PROMGRES_DATABASE_URL", "PROMGRES_API_PASSWORD"):
        environment.pop(name, None)
    if settings.jwt_secret:
        environment["PROMGRES_JWT_SECRET"] = settings.jwt_secret.get_secret_value()
    return environment | {
        "PROMGRES_API_DATABASE_URL": api_database_url,
        "PROMGRES_API__WRITE_URL": settings.api.write_url
        or f"http://{reachable_address(settings.listen)}",
    }


def _shared(settings: Settings, config_file: Path | None) -> Environment:
    """Our own variables, overridden by what flags may have said."""
    environment = {k: v for k, v in os.environ.items() if k not in _SERVER_ONLY}
    for name in _BY_FLAG:
        environment[f"PROMGRES_{name.upper()}"] = str(getattr(settings, name))
    if config_file:
        environment["PROMGRES_CONFIG"] = str(config_file.absolute())
    return environment

"""Read the settings from their four sources and turn what is wrong into one line."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from ingest.config.settings import Settings
from ingest.errors import ConfigError

DEFAULT_FILE = Path("promgres.toml")


def load_settings(
    flags: Mapping[str, Any] | None = None, config_file: Path | None = None
) -> Settings:
    """Settings from flags, environment, file and defaults, in this order.

    Args:
        flags: what the command line gave; a None counts as not given. A dotted name
            (`database.listen`) sets a nested setting.
        config_file: `--config`; else `PROMGRES_CONFIG`; else `promgres.toml` if it exists.

    Raises:
        ConfigError: a setting is wrong; the message names it and fits one line.
    """
    path = _find_file(config_file)
    from_file = _read_toml(path) if path else {}

    class Sources(Settings):
        file_values: ClassVar[dict[str, Any]] = from_file

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            file_settings = InitSettingsSource(settings_cls, init_kwargs=cls.file_values)
            return init_settings, env_settings, file_settings

    try:
        loaded = Sources(**_nest(flags or {}))
    except ValidationError as error:
        raise ConfigError(_one_line(error, path)) from None
    except SettingsError as error:  # a variable that ought to be JSON
        raise ConfigError(f"{error}: lists and tables are JSON there") from None
    return Settings.model_construct(**dict(loaded))


def _find_file(config_file: Path | None) -> Path | None:
    named = config_file or (
        Path(os.environ["PROMGRES_CONFIG"]) if os.environ.get("PROMGRES_CONFIG") else None
    )
    if named is None:
        return DEFAULT_FILE if DEFAULT_FILE.is_file() else None
    if not named.is_file():
        raise ConfigError(f"config file {named} does not exist")
    return named


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"config file {path}: {error}") from None


def _nest(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None:
            continue
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


def _one_line(error: ValidationError, path: Path | None) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in problem["loc"]) or "settings"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "no such setting"
        problems.append(f"{where}: {message}")
    source = f" (flags, PROMGRES_* or {path})" if path else " (flags or PROMGRES_*)"
    return "; ".join(problems) + source

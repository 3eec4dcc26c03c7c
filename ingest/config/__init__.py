"""One typed model of every setting: flags over `PROMGRES_*` over `promgres.toml` over defaults."""

from ingest.config.load import load_settings
from ingest.config.settings import (
    DEFAULT_PACKS,
    ApiSettings,
    AuthSettings,
    DatabaseSettings,
    LimitSettings,
    QuerySettings,
    ReceiverSettings,
    RetentionSettings,
    RouteRule,
    Settings,
    StarlarkScript,
    StorageSettings,
    ValueLabel,
    WriterSettings,
)

__all__ = [
    "DEFAULT_PACKS",
    "ApiSettings",
    "AuthSettings",
    "DatabaseSettings",
    "LimitSettings",
    "QuerySettings",
    "ReceiverSettings",
    "RetentionSettings",
    "RouteRule",
    "Settings",
    "StarlarkScript",
    "StorageSettings",
    "ValueLabel",
    "WriterSettings",
    "load_settings",
]

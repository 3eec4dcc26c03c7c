"""The settings themselves. Every field's description is what the generated table prints."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ingest.logs import LogFormat
from ingest.sqlfiles import engine_names, pack_names
from ingest.stores import RETAINED

MIB = 1024 * 1024

DEFAULT_PACKS = ("manifest",)
"""Packs of a new database where the settings name none."""


def default_data_dir() -> Path:
    """The platform's place for an application's data; `/var/lib/promgres` for root."""
    if os.geteuid() == 0:
        return Path("/var/lib/promgres")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "promgres"
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "promgres"


def _check_address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9273")
    return text


Address = Annotated[str, AfterValidator(_check_address)]
"""`HOST:PORT`; port 0 lets the system choose (tests do)."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Section(BaseModel):
    """A table of `promgres.toml`; an unknown key in it is an error, not a silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RouteMatch(Section):
    """What a rule asks of a series: all of it must hold. Names compare in lower case."""

    name: Annotated[
        list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])
    ] = Field(default_factory=list, description="one of these metric names")
    name_regex: str | None = Field(None, description="the whole metric name matches")
    labels: dict[str, str] = Field(default_factory=dict, description="these labels, exactly")
    labels_regex: dict[str, str] = Field(
        default_factory=dict, description="these labels, each matched whole"
    )

    @model_validator(mode="after")
    def _patterns_compile(self) -> RouteMatch:
        for pattern in [self.name_regex, *self.labels_regex.values()]:
            if pattern is None:
                continue
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"regular expression {pattern!r}: {error}") from error
        return self


class RouteRule(Section):
    """One `[[route]]`: the first rule that matches a series decides where it goes."""

    match: RouteMatch = Field(default_factory=RouteMatch, description="which series")
    target: Literal["internal", "cumsum", "geo"] = Field("internal", description="which table")
    schema_: Annotated[str, Field(alias="schema", min_length=1, max_length=100)] = Field(
        "common", description="the schema that readers ask for"
    )
    drop: bool = Field(False, description="store nothing of it")


class ValueLabel(Section):
    """One `[[value_label]]`: the label of a metric that carries its exact value."""

    name: str = Field(min_length=1, description="metric name, in lower case")
    label: str = Field(min_length=1, description="label whose decimal text is the value")


TagFilter = dict[str, Annotated[list[str], BeforeValidator(_as_list)]]
"""Patterns by tag, as Telegraf's filters have them."""
Constant = bool | int | float | str


class StarlarkScript(Section):
    """One `[[starlark]]`: a script of Telegraf's processor of that name, asked once a series."""

    source: str | None = Field(None, description="the script; this or `script`")
    script: Path | None = Field(None, description="file of the script")
    namepass: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        description="only metrics with one of these names, `prometheus_remote_write` unless a"
        " script before has changed it; patterns with `*`, `?`, `[a-z]`, `{a,b}`",
    )
    tagpass: TagFilter = Field(
        default_factory=dict, description="only metrics with one of these tags, values as patterns"
    )
    tagdrop: TagFilter = Field(
        default_factory=dict, description="no metrics with one of these tags, values as patterns"
    )
    keep: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default_factory=list,
        description="tags that it adds and that stay labels, though a `tagpass`, `tagdrop` or"
        " `[[route]]` asks for them (others leave again when the series has its route)",
    )
    constants: dict[str, Constant] = Field(
        default_factory=dict, description="names that the script finds defined"
    )

    @model_validator(mode="after")
    def _has_one_text(self) -> StarlarkScript:
        if (self.source is None) == (self.script is None):
            raise ValueError("needs one of source and script")
        return self


def default_writers() -> int:
    """Half the cores: the other half is the daemon's. On two cores a second writer only makes the
    batches smaller (measured: 0.85 of the speed)."""
    return max(1, min(8, (os.cpu_count() or 2) // 2))


def default_pool_size() -> int:
    """A writer has two batches under way; new series, rollups and questions need some more."""
    return 2 * default_writers() + 2


class DatabaseSettings(Section):
    """`[database]`: how connections are made."""

    pool_size: int = Field(
        default_factory=default_pool_size,
        ge=1,
        le=100,
        description="connections of one process, besides two that watch the keys",
    )
    statement_cache_size: int = Field(
        100, ge=0, description="prepared statements a connection; 0 for PgBouncer"
    )
    connect_timeout_seconds: float = Field(10, gt=0, description="how long a connect may take")
    command_timeout_seconds: float = Field(
        60,
        gt=0,
        description="write side: how long a COPY or a commit may take, then the"
        " connection is given up",
    )
    listen: Address | None = Field(
        None,
        description="embedded only: also accept TCP here (needs `database.password` or"
        " `database.reader_password`)",
    )
    password: SecretStr | None = Field(
        None, description="embedded only: password of TCP connections as the superuser"
    )
    reader_password: SecretStr | None = Field(
        None, description="password that `promgres migrate` gives to the login `promgres_reader`"
    )


class ReceiverSettings(Section):
    """`[receiver]`: limits of the write side."""

    max_body_bytes: int = Field(32 * MIB, ge=1, description="compressed body, else 413")
    max_decompressed_bytes: int = Field(32 * MIB, ge=1, description="declared length, else 400")
    answer_timeout_seconds: float = Field(
        25, gt=0, le=29, description="answer 503 by then (vmalert gives up at 30 s)"
    )
    backlog_seconds: float = Field(
        2, gt=0, description="work that may wait for a writer before 503"
    )
    max_future_seconds: float = Field(600, ge=0, description="timestamps further ahead: 400")
    oldest_timestamp: datetime = Field(
        datetime(2000, 1, 1, tzinfo=UTC), description="timestamps before this: 400"
    )


Limit = Annotated[int, Field(ge=0)]
"""0 is no limit."""


class LimitSettings(Section):
    """`[limits]`: what one sender may ask of the write side; 0 is off, as most are.

    A tenant's own row in the database goes before `items_per_second` to `spool_share`.
    """

    labels_per_series: Limit = Field(0, description="a series with more labels: 400 for it")
    label_name_bytes: Limit = Field(0, description="a series with a longer label name: 400 for it")
    label_value_bytes: Limit = Field(0, description="a series with a longer value: 400 for it")
    series_per_request: Limit = Field(250_000, description="more series: 400 for the whole request")
    samples_per_request: Limit = Field(
        1_000_000,
        description="more samples, native histograms included: 400 for the whole request",
    )
    memory_bytes_per_request: Limit = Field(
        384 * MIB,
        description="memory that new series, samples, buckets, metadata and all else of one request"
        " take once they are decoded, as counted from their number; more: 400 for the whole"
        " request",
    )
    text_bytes_per_request: Limit = Field(
        128 * MIB,
        description="label names and values, and texts of metadata, of new series of one request,"
        " counted each time that it refers to them; more: 400 for the whole request",
    )
    items_per_request: Limit = Field(
        100_000, description="measures and events of one request, more: 413"
    )
    attributes_bytes: Limit = Field(
        MIB, description="a measure or event with longer attributes, as sent: 400"
    )
    new_series_per_metric_per_hour: Limit = Field(
        0,
        description="series that each of a tenant's metrics may get within any hour, each process",
    )
    concurrent_requests: Limit = Field(1000, description="more requests at once: 503")
    tenant_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="part of the requests at once, of their memory and of the rows that wait for a"
        " writer that one tenant may have while others send too; then 503",
    )
    items_per_second: float = Field(
        0,
        ge=0,
        allow_inf_nan=False,
        description="samples, native histograms, measures and events a second of a tenant, each"
        " process: 503 on remote write, else 429",
    )
    series: Limit = Field(0, description="series that a tenant may have in all: 400 for more")
    new_series_per_hour: Limit = Field(
        0, description="series that a tenant may create within any hour, each process: 400 for more"
    )
    spool_share: float = Field(
        1, ge=0, le=1, description="part of `spool.max_bytes` that one tenant may fill, then 503"
    )
    script_steps: int = Field(
        20_000,
        ge=100,
        description="operations of all `[[starlark]]` scripts for one series, more: 400 for it",
    )
    script_memory_bytes: int = Field(
        4 * MIB,
        ge=10_000,
        description="memory that the scripts take for one series, counted and never given back,"
        " more: 400 for it",
    )


class SpoolSettings(Section):
    """`[spool]`: where accepted requests wait for a database that is away."""

    after: float = Field(
        5, gt=0, le=20, description="seconds after which an unconfirmed request is spooled"
    )
    max_bytes: int = Field(
        1024 * MIB, ge=0, description="payload bytes it may hold, then 503; 0: no spool"
    )


class WriterSettings(Section):
    """`[writer]`: batches and the series cache."""

    max_batch_rows: int = Field(50_000, ge=1, description="rows of one COPY")
    writers: int = Field(
        default_factory=default_writers,
        ge=1,
        le=32,
        description="COPYs at once; each has up to two connections",
    )
    direct: bool = Field(
        True,
        description="copy samples that are new straight into their table; else all of them go"
        " through staging, whose triggers dedupe",
    )
    max_cached_series: int = Field(
        2_000_000, ge=1000, description="series ids held in memory; older ones are asked for again"
    )
    remove_series: bool = Field(
        True,
        description="remove series of which nothing is left: no sample, histogram, exemplar, hour;"
        " and metrics without series and rollups",
    )
    remove_series_age_seconds: float = Field(
        3600,
        ge=0,
        le=100 * 365 * 86_400,
        description="a series must have been there for so long to be removed",
    )


def _zero_is_never(value: object) -> object:
    return None if value in (0, "0") else value


_SomeDays = Annotated[int, Field(ge=2, le=36_500)]
Days = Annotated[
    _SomeDays | None,
    BeforeValidator(_zero_is_never, json_schema_input_type=Literal[0] | _SomeDays | None),
]
"""Two days or more; 0 (TOML has no null) is None: never."""


class RetentionSettings(Section):
    """`[retention]`: how long raw samples stay, in days; 0 is for ever."""

    internal_days: Days = Field(365, description="raw samples of `internal`")
    cumsum_days: Days = Field(None, description="raw samples of `cumsum`")
    geo_days: Days = Field(None, description="raw samples of `geo`")
    app_days: Days = Field(365, description="measures and events that applications push")
    series_hours_days: Literal[0] | _SomeDays | None = Field(
        None,
        description="hours of single series, from which long periods are read; unset: as long as"
        " the raw samples of their target; 0 is for ever",
    )
    compress_after_days: Days = Field(7, description="TimescaleDB only")

    def days(self, target: str) -> int | None:
        """Days that raw samples of `target`, or what is pushed (`app`), stay; None for ever."""
        assert target in RETAINED
        days: int | None = getattr(self, f"{target}_days")
        return days


class StorageSettings(Section):
    """`[storage]`: how engine postgres keeps samples. `promgres migrate` puts it in force."""

    pack: bool = Field(
        True,
        description="put samples that are older than a few hours into blocks, six hours of a series"
        " in a row: 2 to 3 bytes a sample instead of 84; off leaves rows as they are",
    )


def _check_network(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


Network = Annotated[str, AfterValidator(_check_network)]
"""`10.0.0.0/8`, or one address."""


def _from_environment(value: object) -> object:
    """A list; as text, what a variable can hold: JSON, or with commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _check_packs(packs: list[str]) -> list[str]:
    if unknown := sorted(set(packs) - pack_names()):
        raise ValueError(f"there is no pack {unknown[0]!r}, only {', '.join(sorted(pack_names()))}")
    return packs


def _check_schemas(schemas: list[str]) -> list[str]:
    if not schemas or len(set(schemas)) < len(schemas) or not all(map(str.isprintable, schemas)):
        raise ValueError("names of schemas, at least one, each once")
    ours = sorted(set(schemas) & INNER_SCHEMAS)
    if ours:
        raise ValueError(f"{', '.join(ours)}: not for the web")
    return schemas


def _check_function_name(name: str | None) -> str | None:
    if name is not None and (not all(name.split(".")) or name.count(".") > 1):
        raise ValueError("not the name of a function: `name` or `schema.name`")
    return name


def _check_setting_names(settings: dict[str, str]) -> dict[str, str]:
    for name in settings:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,50}", name, re.ASCII):
            raise ValueError(f"{name!r} is not the name of a setting: letters, digits, _")
    return settings


def _check_engine(engine: str) -> str:
    if engine not in (every := ("auto", *sorted(engine_names()))):
        raise ValueError(f"there is no engine {engine!r}, only {', '.join(every)}")
    return engine


INNER_SCHEMAS = frozenset({
    "internal", "cumsum", "geo", "staging_internal", "staging_cumsum", "staging_geo", "app",
    "pg_catalog", "information_schema",
})  # fmt: skip
"""Schemas whose functions are never served by name."""


class AuthSettings(Section):
    """`[auth]`: who may come in, on both sides."""

    required: bool = Field(
        False, description="401 without a key or token; else such a request is tenant `default`'s"
    )
    trusted_proxies: Annotated[list[Network], NoDecode, BeforeValidator(_from_environment)] = Field(
        default_factory=list,
        description="networks whose `X-Scope-OrgID` names the tenant of a request without a key,"
        " and whose `X-Forwarded-For` is believed; in the environment, with commas",
    )
    jwt_audience: str | None = Field(
        None, min_length=1, description="what a token must name in `aud`, if it names anything"
    )
    jwt_role_claim: str = Field(
        "role",
        description="where the role is among a token's claims, such as `$.app.roles[0]`",
    )
    audit_days: Days = Field(365, description="how long rows of `app.audit` stay; 0 is for ever")


class HttpSettings(Section):
    """`[http]`: connections, of each port."""

    max_connections: int | None = Field(
        None,
        ge=1,
        description="at once; unset: 10,000, or what the limit of open files leaves (it is never"
        " passed)",
    )
    max_connections_per_address: int | None = Field(
        None,
        ge=1,
        description="at once from one address (IPv6: from one /64), but for this machine and"
        " `auth.trusted_proxies`; unset: a quarter of all",
    )
    head_timeout_seconds: float = Field(
        10, gt=0, description="for the head of a request to be complete, else 408"
    )
    write_timeout_seconds: float = Field(
        30, gt=0, description="an answer of which the client takes nothing for so long is ended"
    )


class UserSettings(Section):
    """`[users]`: as root, who runs what. They are looked up, never made."""

    server: str | None = Field(
        None, description="user of the embedded database's server; unset: the database's owner"
    )
    ingest: str | None = Field(
        None, description="user of the write side; unset: a system user; `root` stays root"
    )
    api: str | None = Field(
        None, description="user of the read side; unset: a system user; `root` stays root"
    )


class ApiSettings(Section):
    """`[api]`: the read side."""

    statement_timeout_seconds: float = Field(10, gt=0, description="a query's longest time")
    acquire_timeout_seconds: float = Field(
        10, gt=0, description="wait for a free connection, else 504"
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that serve; each has its own connections and limits",
    )
    pool_size: int = Field(
        4,
        ge=1,
        le=100,
        description="connections for questions, besides one for each two processors for dear ones,"
        " two for measures and events, two for keys, one for exports and one for the catalogue",
    )
    quick_seconds: float = Field(
        0.25,
        gt=0,
        description="a question that takes longer is ended, and asked again where it holds up no"
        " other (unless `pool_size` is 1)",
    )
    stream_timeout_seconds: float = Field(
        30, gt=0, description="how long a client may take to read an answer of more than 4 MiB"
    )
    questions_per_caller: int = Field(
        200,
        ge=1,
        description="that one key (without one: a role of a tenant) may have under way, more: 503",
    )
    max_buckets: int = Field(
        1_000_000,
        ge=1,
        description="buckets from `p_from` to `p_to` that a function may be asked for, more: 400",
    )
    max_answer_bytes: int = Field(
        256 * MIB, ge=1, description="a longer answer, before compression: 400"
    )
    max_exports: int = Field(
        4,
        ge=1,
        description="exports under way at once, more: 503; each takes some 30 MiB of memory",
    )
    export_timeout_seconds: float = Field(
        3600, gt=0, description="how long an export may take, until its client has read it"
    )
    slow_seconds: float = Field(1, gt=0, description="a question that takes longer is logged")
    max_body_bytes: int = Field(MIB, ge=1, description="body of a POST to /rpc, else 413")
    schemas: Annotated[
        list[str],
        NoDecode,
        AfterValidator(_check_schemas),
        BeforeValidator(_from_environment),
    ] = Field(
        default_factory=lambda: ["api"],
        description="schemas whose functions are served; the first is asked where none is named"
        " (`Accept-Profile`, `Content-Profile`); in the environment with commas",
    )
    max_rows: int | None = Field(
        None, ge=1, description="rows of an answer of /rpc, further ones are a page; unset: all"
    )
    pre_request: Annotated[str | None, AfterValidator(_check_function_name)] = Field(
        None,
        description="function (`schema.name`, no arguments) that is called before each function of"
        " /rpc, as its role and in its transaction",
    )
    app_settings: Annotated[dict[str, str], AfterValidator(_check_setting_names)] = Field(
        default_factory=dict,
        description="what functions find in `app.settings.NAME`; no secrets, as callers may, too",
    )
    write_url: str | None = Field(None, description="write side that pushes are forwarded to")


Feature = Literal[
    "promql-experimental-functions",
    "promql-duration-expr",
    "promql-extended-range-selectors",
    "promql-binop-fill-modifiers",
    "promql-delayed-name-removal",
    "type-and-unit-labels",
    "use-start-timestamps",
]
"""Feature flags of Prometheus that a query may need."""


class QuerySettings(Section):
    """`[query]`: PromQL and the rest of Prometheus' API, on the read port."""

    lookback_seconds: float = Field(
        300, gt=0, description="how old the newest sample of a series may be, to be its value"
    )
    timeout_seconds: float = Field(120, gt=0, description="a query's longest time, else 503")
    max_samples: int = Field(
        10_000_000,
        ge=1,
        description="samples and buckets that a query may have in memory, else 422",
    )
    max_series: int = Field(
        200_000, ge=1, description="series that one selector may meet, else 422"
    )
    workers: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 2) // 2),
        ge=1,
        le=64,
        description="processes for queries that take longer than a second; one more is for all"
        " others",
    )
    max_concurrent: int = Field(
        20,
        ge=1,
        description="queries under way, those that wait among them, more: 503; beside one key that"
        " has them all, each other one may have a quarter of it; each of `api.workers` counts its"
        " own",
    )
    queue_seconds: float = Field(
        10, gt=0, description="how long a query may wait for a process, else 503"
    )
    features: Annotated[list[Feature], NoDecode, BeforeValidator(_from_environment)] = Field(
        default_factory=list,
        description="what Prometheus has behind feature flags, by the names that it has there;"
        " in the environment, with commas",
    )


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="PROMGRES_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL URL; unset: embedded PostgreSQL in the data directory"
    )
    api_database_url: SecretStr | None = Field(
        None, description="URL of the read side; unset: login `promgres_api` of the same database"
    )
    api_password: SecretStr | None = Field(
        None, description="password that `promgres migrate` gives to the login `promgres_api`"
    )
    data_dir: Path = Field(
        default_factory=default_data_dir, description="embedded database and spool"
    )
    reserve_bytes: int = Field(
        64 * MIB,
        ge=0,
        description="file in the data directory that is given up when its disk fills, so that"
        " recovery can write; 0: none",
    )
    listen: Address = Field("127.0.0.1:9273", description="address of the write side")
    api_listen: Address = Field("127.0.0.1:3000", description="address of the read side")
    engine: Annotated[str, AfterValidator(_check_engine)] = Field(
        "auto", description="decided at the first migration, recorded, never changed after"
    )
    packs: Annotated[
        list[str] | None,
        NoDecode,
        AfterValidator(lambda packs: packs and _check_packs(packs)),
        BeforeValidator(_from_environment),
    ] = Field(
        None,
        description="packs of functions, views, routes and value labels that `promgres migrate`"
        " switches on, all others off, and records; unset: as recorded, at first `manifest`;"
        " in the environment with commas, none is `[]`",
    )
    jwt_secret: SecretStr | None = Field(
        None,
        description="HS256 secret of 32 bytes or more, or a JSON Web Key or set of keys; unset:"
        " tokens are refused",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
    log_format: LogFormat = Field("auto", description="text on a terminal, else JSON")
    builtin_routes: bool = Field(True, description="the rules of packs come after `[[route]]`")
    builtin_value_labels: bool = Field(True, description="the `[[value_label]]` entries of packs")
    database: DatabaseSettings = DatabaseSettings()
    receiver: ReceiverSettings = ReceiverSettings()
    limits: LimitSettings = LimitSettings()
    writer: WriterSettings = WriterSettings()
    spool: SpoolSettings = SpoolSettings()
    retention: RetentionSettings = RetentionSettings()
    storage: StorageSettings = StorageSettings()
    auth: AuthSettings = AuthSettings()
    http: HttpSettings = HttpSettings()
    users: UserSettings = UserSettings()
    api: ApiSettings = ApiSettings()
    query: QuerySettings = QuerySettings()
    route: list[RouteRule] = Field(default_factory=list, description="routing rules, in order")
    value_label: list[ValueLabel] = Field(
        default_factory=list, description="labels that carry exact values"
    )
    starlark: list[StarlarkScript] = Field(
        default_factory=list,
        description="scripts of Telegraf's Starlark processor, in order, before the routing rules;"
        " they need the extra `starlark`",
    )

    @model_validator(mode="after")
    def _secrets_are_long_enough(self) -> Settings:
        secret = self.jwt_secret
        if secret is not None and len(secret.get_secret_value().encode()) < 32:
            raise ValueError("jwt_secret needs at least 32 bytes (HS256), or is a JSON Web Key set")
        return self

    @model_validator(mode="after")
    def _tcp_needs_a_password(self) -> Settings:
        database = self.database
        if database.listen and not (database.password or database.reader_password):
            raise ValueError("database.listen needs database.password or database.reader_password")
        return self

    @property
    def embedded(self) -> bool:
        """Whether PostgreSQL runs below the data directory, because no URL was given."""
        return self.database_url is None

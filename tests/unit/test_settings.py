"""Settings: sources, their order, and what is said when one is wrong."""

from pathlib import Path

import pytest

from ingest.config import load_settings
from ingest.errors import ConfigError


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "promgres.toml"
    path.write_text(text)
    return path


def test_flags_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toml(tmp_path, 'listen = "127.0.0.1:1"\napi_listen = "127.0.0.1:2"\nengine = "postgres"')
    monkeypatch.setenv("PROMGRES_LISTEN", "127.0.0.1:3")
    monkeypatch.setenv("PROMGRES_API_LISTEN", "127.0.0.1:4")
    settings = load_settings({"listen": "127.0.0.1:5", "engine": None}, path)
    assert settings.listen == "127.0.0.1:5"
    assert settings.api_listen == "127.0.0.1:4"
    assert settings.engine == "postgres"
    assert settings.log_level == "info"


def test_nested_settings_by_file_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toml(tmp_path, "[database]\npool_size = 3\nstatement_cache_size = 0")
    monkeypatch.setenv("PROMGRES_DATABASE__POOL_SIZE", "9")
    database = load_settings({}, path).database
    assert (database.pool_size, database.statement_cache_size) == (9, 0)


def test_zero_days_is_for_ever(tmp_path: Path) -> None:
    path = toml(tmp_path, "[retention]\ninternal_days = 0\ncumsum_days = 30")
    retention = load_settings({}, path).retention
    assert (retention.days("internal"), retention.days("cumsum")) == (None, 30)
    assert retention.days("geo") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen = 9273", "listen"),
        ("[databas]\npool_size = 3", "databas: no such setting"),
        ("[retention]\ninternal_days = 1", "retention.internal_days"),
        ('jwt_secret = "short"', "at least 32 bytes"),
        ('[[route]]\nmatch = { name_regex = "(" }', "regular expression"),
        ("listen = ", "promgres.toml"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({}, toml(tmp_path, text))
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert "short" not in message


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings({}, tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", []),
        ("10.0.0.1/8, ::1", ["10.0.0.0/8", "::1/128"]),
        ('["192.0.2.7"]', ["192.0.2.7/32"]),
    ],
)
def test_networks_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, networks: list[str]
) -> None:
    monkeypatch.setenv("PROMGRES_AUTH__TRUSTED_PROXIES", text)
    assert load_settings({}).auth.trusted_proxies == networks


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("AUTH__TRUSTED_PROXIES", "10.0.0.0/99", "auth.trusted_proxies"),
        ("AUTH__TRUSTED_PROXIES", "[", "auth.trusted_proxies"),
        ("ROUTE", "no JSON", '"route"'),
    ],
)
def test_a_wrong_variable_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, said: str
) -> None:
    monkeypatch.setenv(f"PROMGRES_{variable}", text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_settings({})
    assert "\n" not in str(caught.value)

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.storage.urls import NO_API_LOGIN, api_database_url, as_api_login, owner_database_url

PASSWORD = SecretStr("p@ss/w:rd?#%")
QUOTED = "p%40ss%2Fw%3Ard%3F%23%25"


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        (
            "postgresql://owner:secret@db:5433/metrics",
            f"postgresql://promgres_api:{QUOTED}@db:5433/metrics",
        ),
        (
            "postgres://owner:secret@db/metrics?sslmode=require&user=x&password=y",
            f"postgres://promgres_api:{QUOTED}@db/metrics?sslmode=require",
        ),
        (
            "postgresql://o:s@a:1,b:2/metrics?target_session_attrs=primary",
            f"postgresql://promgres_api:{QUOTED}@a:1,b:2/metrics?target_session_attrs=primary",
        ),
        ("postgresql://o:s@[::1]:5432/m", f"postgresql://promgres_api:{QUOTED}@[::1]:5432/m"),
        ("postgresql://o:a%40b@db/m", f"postgresql://promgres_api:{QUOTED}@db/m"),
        ("postgresql://owner:s@db", f"postgresql://promgres_api:{QUOTED}@db/owner"),
        ("postgresql://db/m", f"postgresql://promgres_api:{QUOTED}@db/m"),
    ],
)
def test_the_login_replaces_the_owner_and_nothing_else(owner: str, expected: str) -> None:
    assert as_api_login(owner, PASSWORD) == expected


@pytest.mark.parametrize(
    "owner",
    [
        "postgresql://postgres@/postgres?host=%2Frun%2Fa%20b&port=5432",
        "postgresql:///postgres?host=%2Frun%2Fa%20b&port=5432",
    ],
)
def test_a_socket_needs_no_password(owner: str) -> None:
    expected = "postgresql://promgres_api@/postgres?host=%2Frun%2Fa%20b&port=5432"
    assert as_api_login(owner, None) == expected


def test_a_socket_as_host_needs_no_password() -> None:
    owner = "postgresql://postgres@%2Frun%2Fpg/db"
    assert as_api_login(owner, None) == "postgresql://promgres_api@%2Frun%2Fpg/db"


def test_an_owner_s_url_alone_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError) as refusal:
        as_api_login("postgresql://owner:secret@db/metrics", None)
    assert str(refusal.value) == NO_API_LOGIN
    assert "secret" not in NO_API_LOGIN


@pytest.mark.parametrize("url", ["host=db user=x", "mysql://db", "postgresql://[::1/x"])
def test_what_is_no_postgresql_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        as_api_login(url, PASSWORD)
    assert url not in str(refusal.value)


def test_a_given_url_is_taken_as_it_is() -> None:
    given = "postgresql://reader:x@replica/metrics"
    settings = Settings(api_database_url=SecretStr(given), database_url=SecretStr("x"))
    assert api_database_url(settings) == given


def test_without_a_url_and_without_a_running_database_there_is_none(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    for find in (owner_database_url, api_database_url):
        with pytest.raises(ConfigError, match="promgres up"):
            find(settings)

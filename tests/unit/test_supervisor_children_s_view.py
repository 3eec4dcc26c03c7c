"""What the children get to know, and what the user is told."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from pydantic import SecretStr

from ingest.cli import options
from ingest.config import AuthSettings, DatabaseSettings, Settings, load_settings
from ingest.supervisor import environment
from ingest.supervisor.environment import read_side_environment, write_side_environment
from ingest.supervisor.welcome import welcome

OWNER = "postgresql://postgres@/postgres?host=/data/postgres/socket&port=5432"
READER = "postgresql://promgres_api@/postgres?host=/data/postgres/socket&port=5432"
JWT = SecretStr("0123456789-0123456789-0123456789")


@pytest.fixture
def settings() -> Settings:
    return Settings(
        data_dir=Path("/data"),
        listen="0.0.0.0:9273",
        api_listen="[::1]:3000",
        jwt_secret=JWT,
        log_level="warning",
    )


@pytest.fixture
def everything_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that the user may have, of both sides and of the database."""
    monkeypatch.setenv("PROMGRES_JWT_SECRET", "x" * 32)
    monkeypatch.setenv("PROMGRES_API_PASSWORD", "reader's")
    monkeypatch.setenv("PROMGRES_API_DATABASE_URL", READER)
    monkeypatch.setenv("PROMGRES_DATABASE_URL", OWNER)
    monkeypatch.setenv("PROMGRES_DATABASE__LISTEN", "127.0.0.1:5432")
    monkeypatch.setenv("PROMGRES_DATABASE__PASSWORD", "superuser's")
    monkeypatch.setenv("PROMGRES_WRITER__WRITERS", "3")


@pytest.mark.usefixtures("everything_set")
def test_each_side_has_its_own_url_and_no_secret_of_the_other(settings: Settings) -> None:
    write = write_side_environment(settings, None, OWNER)
    read = read_side_environment(settings, None, READER)
    assert write["PROMGRES_DATABASE_URL"] == OWNER
    assert read["PROMGRES_API_DATABASE_URL"] == READER
    assert read["PROMGRES_JWT_SECRET"] == JWT.get_secret_value()
    ours = ("PROMGRES_API_DATABASE_URL", "PROMGRES_API_PASSWORD", "PROMGRES_JWT_SECRET")
    assert not set(ours) & set(write)
    assert not {"PROMGRES_DATABASE_URL", "PROMGRES_API_PASSWORD"} & set(read)
    for variables in (write, read):
        assert "PROMGRES_DATABASE__PASSWORD" not in variables
        assert variables["PROMGRES_WRITER__WRITERS"] == "3", "the rest is handed on"


@pytest.mark.usefixtures("everything_set")
def test_children_read_the_settings_that_up_has(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config_file = tmp_path / "promgres.toml"
    config_file.write_text("log_level = 'debug'\n[writer]\nmax_batch_rows = 7\n")
    for name, value in read_side_environment(settings, config_file, READER).items():
        if name.startswith("PROMGRES_"):
            monkeypatch.setenv(name, value)
    for name in ("PROMGRES_DATABASE__LISTEN", "PROMGRES_DATABASE__PASSWORD"):
        monkeypatch.delenv(name)
    child = load_settings()
    assert child.listen == settings.listen
    assert child.api_listen == settings.api_listen
    assert child.data_dir == settings.data_dir
    assert child.log_level == "warning", "a flag of up stands above the file"
    assert child.writer.max_batch_rows == 7
    assert child.api.write_url == "http://127.0.0.1:9273"


def test_the_welcome_names_what_a_local_client_can_use(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [".venv/bin/promgres"])
    text = welcome(settings, OWNER)
    assert "http://127.0.0.1:9273/write" in text
    assert "http://[::1]:3000/rpc/" in text
    assert OWNER in text
    assert "psql --data-dir /data" in text
    assert JWT.get_secret_value() not in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_welcome_begins_with_a_key_where_one_is_needed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [".venv/bin/promgres"])
    assert "PROMGRES_KEY" not in welcome(settings, OWNER)
    text = welcome(settings.model_copy(update={"auth": AuthSettings(required=True)}), OWNER)
    assert "export PROMGRES_KEY=$(.venv/bin/promgres key create default --data-dir /data)" in text
    curls = [line for line in text.splitlines() if "curl " in line]
    assert len(curls) == 2
    assert all('"Authorization: Bearer $PROMGRES_KEY"' in line for line in curls)


def test_the_welcome_can_be_typed_as_it_stands() -> None:
    directory = "/Users/me/Library/Application Support/promgres's"
    text = welcome(Settings(data_dir=Path(directory)), OWNER)
    line = next(line for line in text.splitlines() if " psql " in line)
    assert shlex.split(line)[-2:] == ["--data-dir", directory]


def test_the_welcome_names_tcp_but_no_password() -> None:
    database = DatabaseSettings(listen="127.0.0.1:5433", password=SecretStr("hidden"))
    text = welcome(Settings(database=database), OWNER)
    assert "postgresql://postgres@127.0.0.1:5433/postgres" in text
    assert "hidden" not in text


def test_the_welcome_keeps_a_given_url_to_itself() -> None:
    settings = Settings(database_url=SecretStr("postgresql://owner:hidden@db/metrics"))
    text = welcome(settings, None)
    assert "hidden" not in text
    assert "--data-dir" not in text


def test_every_flag_reaches_the_children() -> None:
    """What has a way of its own: URLs and secrets, and what only the parent needs."""
    otherwise = {"database_url", "api_database_url", "jwt_secret", "database_listen"}
    assert set(options._NAMES) - otherwise == set(environment._BY_FLAG)

"""What `promgres config` prints."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingest.cli.config import command, setting_flags
from ingest.config import Settings
from ingest.config.document import MASK, every_setting, markdown, masked, shown

DOCUMENT = Path(__file__).parents[2] / "docs/reference/configuration.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == markdown(setting_flags()), (
        "promgres config docs > docs/reference/configuration.md"
    )


def test_every_flag_and_every_environment_variable_is_a_setting() -> None:
    settings = {setting.path: setting for setting in every_setting()}
    assert set(setting_flags()) <= set(settings)
    assert settings["database.pool_size"].environment == "PROMGRES_DATABASE__POOL_SIZE"
    assert all(setting.description for setting in settings.values())


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / 'a "b"',
        route=[
            {"match": {"name": ["up"], "labels": {"a b": "é\n"}}, "schema": "x"},
            {"match": {"name_regex": "a.*"}, "drop": True},
        ],
        value_label=[{"name": "up", "label": "exact"}],
        starlark=[
            {
                "source": "def apply(metric):\n\treturn 'é\x7f\\'\n",
                "tagpass": {"a b": ["x", "*"]},
                "constants": {"N": 0, "IS": False, "T": "", "F": 1.5},
            },
            {"script": "/etc/my.star", "namepass": ["up"], "keep": ["a"]},
        ],
    )
    again = Settings(_env_file=None, **tomllib.loads(shown(settings)))
    assert again == settings


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cr3t-" * 6
    for name in ("JWT_SECRET", "API_PASSWORD", "DATABASE__PASSWORD"):
        monkeypatch.setenv(f"PROMGRES_{name}", secret)
    monkeypatch.setenv("PROMGRES_DATABASE_URL", f"postgresql://me:{secret}@db.example:5432/metrics")
    monkeypatch.setenv("PROMGRES_API_DATABASE_URL", f"host=db password={secret}")
    result = CliRunner().invoke(command, ["show"])
    assert result.exit_code == 0
    assert "s3cr3t" not in result.output
    assert f'database_url = "postgresql://me:{MASK}@db.example:5432/metrics"' in result.output
    assert result.output.count(MASK) == 5


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("postgresql:///db?host=/run/x", "postgresql:///db?host=/run/x"),
        ("postgres://me@h/db", "postgres://me@h/db"),
        ("postgresql://:pw@h/db", f"postgresql://:{MASK}@h/db"),
        ("postgresql://me:pw@h/db?password=x", f"postgresql://me:{MASK}@h/db?password={MASK}"),
        ("postgresql://me:p#w@h/db", MASK),
        ("postgresql://me:p@w@h/db", MASK),
        ("postgresql://me:p?w@h/db", MASK),
        ("postgresql://me:p/w@h/db", MASK),
        ("anything", MASK),
    ],
)
def test_masked(secret: str, text: str) -> None:
    assert masked(secret) == text


def test_check_says_that_all_is_right_or_raises() -> None:
    result = CliRunner().invoke(command, ["check"])
    assert (result.exit_code, result.output.count("\n")) == (0, 1)
    result = CliRunner().invoke(command, ["check", "--listen", "nonsense"])
    assert "listen" in str(result.exception)

"""What the Dockerfile installs: a wheel, built from what .dockerignore lets through."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.compose import ROOT
from tests.support.databases import Database
from tests.support.processes import run

SQL = ROOT / "sql"
PYCACHE = shutil.ignore_patterns("__pycache__")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an installed wheel consists of."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    for name in re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.M):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=PYCACHE)
        else:
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*build, "--wheel-dir", directory, source], check=True)
    (wheel,) = directory.glob("promgres-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "installed")
    return directory / "installed"


def test_it_holds_every_sql_file(unpacked: Path) -> None:
    held = unpacked / "ingest" / "_sql"
    expected = {path.relative_to(SQL) for path in SQL.rglob("*.sql")}
    assert expected
    assert {path.relative_to(held) for path in held.rglob("*.sql")} == expected


def test_it_holds_nothing_but_the_packages(unpacked: Path) -> None:
    held = {path.name.split("-")[0] for path in unpacked.iterdir()}
    assert held == {"ingest", "promgres", "promgres_client"}
    assert (unpacked / "promgres_client" / "py.typed").is_file()


def test_the_installed_package_migrates(unpacked: Path, empty_postgres_db: Database) -> None:
    script = "import ingest; from ingest.cli.main import main; print(ingest.__file__); main()"
    done = run(
        *(sys.executable, "-c", script, "migrate", "up"),
        env={**empty_postgres_db.environment(), "PYTHONPATH": str(unpacked)},
        cwd=unpacked,
    )
    assert done.process.returncode == 0, done.output
    package, *steps = done.stdout.splitlines()
    assert Path(package).is_relative_to(unpacked), "this is the work tree's"
    assert "applied common/migrations/0001_catalogue.sql" in steps

"""What people install: wheels, built from what the Dockerfile copies, in an empty environment."""

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
from tests.support.stack import running_stack

SQL = ROOT / "sql"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each distribution, by name."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    for copied in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.M):
        for name in copied.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=LEFT_OUT)
            else:
                shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*build, "--wheel-dir", directory, source / "client", source], check=True)
    return {path.name.split("-")[0]: path for path in directory.glob("*.whl")}


@pytest.fixture(scope="module")
def unpacked(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the installed wheels consist of."""
    directory = tmp_path_factory.mktemp("installed")
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(directory)
    return directory


def test_it_holds_every_sql_file(unpacked: Path) -> None:
    held = unpacked / "ingest" / "_sql"
    expected = {path.relative_to(SQL) for path in SQL.rglob("*.sql")}
    assert expected
    assert {path.relative_to(held) for path in held.rglob("*.sql")} == expected


def test_it_holds_the_page(unpacked: Path) -> None:
    page, held = ROOT / "ingest" / "ui" / "page", unpacked / "ingest" / "ui" / "page"
    expected = {path.relative_to(page) for path in page.rglob("*") if path.is_file()}
    assert {path.relative_to(held) for path in held.rglob("*") if path.is_file()} == expected
    assert {str(each) for each in expected} >= {"index.html", "vendor/uPlot.LICENSE"}


@pytest.mark.parametrize(
    ("distribution", "package"), [("promgres", "ingest"), ("promgres_client", "promgres_client")]
)
def test_each_holds_one_package_its_types_and_the_licence(
    wheels: dict[str, Path], distribution: str, package: str
) -> None:
    with zipfile.ZipFile(wheels[distribution]) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {package, distribution}
    assert f"{package}/py.typed" in names
    assert any(re.fullmatch(r"[^/]+\.dist-info/licenses/LICENSE", name) for name in names)


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


@pytest.mark.timeout(900)  # it installs everything
def test_in_an_empty_environment_they_run_all_of_it(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    """As `pip install 'promgres[embedded]'` would have it, with what the lock names."""
    python = tmp_path / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    pip = [sys.executable, "-m", "pip", "--python", python]
    lock = ["--require-hashes", "-r", ROOT / "requirements" / "run.txt"]
    # As `make` does it: uv, or where that cannot, pip.
    uv = [Path(sys.executable).with_name("uv"), "--quiet", "pip", "install", "--python", python]
    if not uv[0].exists() or subprocess.run([*uv, *lock], check=False).returncode:
        subprocess.run([*pip, "install", "--quiet", "--no-compile", *lock], check=True)
    subprocess.run([*pip, "install", "--quiet", "--no-deps", *wheels.values()], check=True)
    subprocess.run([*pip, "check"], check=True)
    with running_stack(tmp_path / "bin" / "promgres") as stack:
        assert stack.write_url

"""The Dockerfile cannot be built in tests; what it stands on can be checked."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.chart import IMAGE
from tests.support.compose import ROOT

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()


def test_its_base_is_pinned_to_the_patch() -> None:
    assert re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.M) == ["python:3.13.14-slim-trixie"]
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert stages == ["${PYTHON}", "${PYTHON}"]


def test_its_python_is_one_that_the_project_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    assert oldest <= (3, 13)


def test_what_it_copies_is_there_and_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.M)
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in IGNORED
    assert "*" in IGNORED, "nothing else reaches the engine: no .env, no history"


def test_it_installs_without_the_embedded_database() -> None:
    assert "[embedded" not in DOCKERFILE


def test_it_ends_as_an_ordinary_user() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.M)
    assert users == ["10001:10001"]
    assert DOCKERFILE.rindex("USER ") > DOCKERFILE.rindex("RUN ")


def test_its_users_have_the_home_that_tests_run_with() -> None:
    assert re.findall(r"--home-dir (\S+)", DOCKERFILE) == [IMAGE["HOME"]]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    command = [hadolint, "--no-color", "--failure-threshold=style", ROOT / "deploy" / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr

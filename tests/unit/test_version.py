"""One version: `pyproject.toml` says it, everything else follows or is compared here."""

from __future__ import annotations

import re
import tomllib

import yaml

import ingest
import promgres_client
from tests.support.compose import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_code_knows_it_from_what_is_installed() -> None:
    assert ingest.__version__ == promgres_client.__version__ == VERSION, (
        "install again after a change of version: make"
    )


def test_client_image_and_change_log_have_the_same() -> None:
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())
    assert client["project"]["version"] == VERSION
    chart = yaml.safe_load((ROOT / "deploy/helm/promgres/Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VERSION
    for name in ("compose.yaml", "deploy/Dockerfile", "deploy/helm/values/kind.yaml"):
        assert set(re.findall(r"promgres:(\d[\w.]*)", (ROOT / name).read_text())) == {VERSION}, name

"""What `make test` installs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import install


def test_no_service_starts_while_packages_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(install, "POLICY", policy)
    with install._no_services():
        assert policy.read_text().endswith("exit 101\n")
        assert policy.stat().st_mode & 0o111
    assert not policy.exists()


def test_a_policy_of_the_machine_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs")
    monkeypatch.setattr(install, "POLICY", policy)
    with install._no_services():
        assert policy.read_text() == "theirs"
    assert policy.read_text() == "theirs"


def test_the_lock_file_pins_contents_and_names_no_host() -> None:
    for folder in (install.PGLITE, install.POSTGREST_JS, install.PROMQL_JS, install.PAGE):
        lock = json.loads((folder / "package-lock.json").read_text())
        packages = [package for name, package in lock["packages"].items() if name]
        assert packages
        assert all("integrity" in package and "resolved" not in package for package in packages)

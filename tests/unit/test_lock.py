"""requirements/*.txt: everything that pyproject.toml asks for, locked with hashes, from nowhere in
particular."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.compose import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
GROUPS: dict[str, list[str]] = PROJECT["dependency-groups"]
ALONE = ("chart", "uv")
"""Groups with a lock of their own."""
ASKED = {
    "image": PROJECT["project"]["dependencies"] + EXTRAS["starlark"],
    "run": PROJECT["project"]["dependencies"] + EXTRAS["embedded"] + EXTRAS["starlark"],
    "test": [
        *PROJECT["project"]["dependencies"],
        *(one for extra in EXTRAS.values() for one in extra),
        *(one for name, group in GROUPS.items() if name not in ALONE for one in group),
    ],
    **{name: GROUPS[name] for name in ALONE},
}
each_lock = pytest.mark.parametrize("name", ASKED)


def _text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def _locked(name: str) -> Iterator[tuple[str, str]]:
    """Names and versions, of each marker."""
    for found in re.finditer(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", _text(name), re.M):
        yield canonicalize_name(found[1]), found[2]


@each_lock
def test_it_holds_what_is_asked_for(name: str) -> None:
    for text in ASKED[name]:
        asked = Requirement(text)
        if asked.name == "promgres-client":
            continue  # ours
        versions = [version for one, version in _locked(name) if one == asked.name.lower()]
        assert versions, f"{text}: run `make lock`"
        assert all(asked.specifier.contains(version) for version in versions), f"{text}: {versions}"


@each_lock
def test_every_line_has_hashes_and_no_address(name: str) -> None:
    entries = [entry for entry in re.split(r"\n(?=\S)", _text(name)) if "==" in entry]
    assert len(entries) >= len(ASKED[name])
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in _text(name)

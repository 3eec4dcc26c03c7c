"""CONTRIBUTING.md sends people to files that are there."""

from __future__ import annotations

import re

import pytest

from tests.support.compose import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
PATHS = sorted(set(re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:md|toml|yaml))`", TEXT)))
LINKS = sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT)))
TARGETS = sorted(set(re.findall(r"`make ([a-z-]+)`", TEXT)))


@pytest.mark.parametrize("path", [*PATHS, *LINKS])
def test_every_file_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_something_was_found() -> None:
    assert len(PATHS) > 40
    assert len(TARGETS) > 8

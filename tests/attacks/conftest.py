"""One stack for all attacks: what one leaves behind, the next one meets."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.attacks.siege import Siege, besieged


@pytest.fixture(scope="session")
def siege() -> Iterator[Siege]:
    """`promgres up` with default settings."""
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is read from Linux's /proc")
    with besieged() as running:
        yield running

"""How hypothesis runs: the same examples in CI every time, no deadline on a shared machine."""

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

FEWER = int(os.environ.get("PROMGRES_EXAMPLES", "50"))
"""Examples of a property; more than usual are for machines only, which say how many they try."""

settings.register_profile(
    "promgres",
    deadline=None,
    derandomize="CI" in os.environ,
    max_examples=min(FEWER, 100),
)
settings.load_profile("promgres")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of injected faults would be logged, each with a traceback."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.configure(**before)

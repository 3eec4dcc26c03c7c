"""What `promgres config metrics` prints."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

from click.testing import CliRunner

import ingest
from ingest.cli.config import command
from ingest.cli.metrictable import metrics_markdown
from ingest.metrics import registered_metrics

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/reference/metrics.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == metrics_markdown(), "make docs"


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(command, ["metrics"])
    assert (result.exit_code, result.output) == (0, metrics_markdown())


def test_no_room_has_metrics_that_the_document_does_not_know() -> None:
    for module in pkgutil.walk_packages(ingest.__path__, "ingest."):
        importlib.import_module(module.name)
    documented = set(re.findall(r"^\| `(\w+)`", DOCUMENT.read_text(), re.M))
    assert {metric.name for metric in registered_metrics()} <= documented


def test_every_metric_says_what_it_is() -> None:
    for metric in registered_metrics():
        assert metric.name.startswith("promgres_")
        assert metric.help.endswith("."), metric.name

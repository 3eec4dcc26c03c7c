"""The Helm chart without helm: what is generated of it, and which values it takes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from ingest.config import Settings
from ingest.config.document import every_setting
from tests.support import chart
from tests.support.chart import CHART, HELM, KEPT, NAMES, SCHEMA, header, values_schema
from tests.support.compose import ROOT

VALUES = {name: yaml.safe_load((HELM / "values" / f"{name}.yaml").read_text()) for name in NAMES}

each_kept = pytest.mark.parametrize("name", NAMES)


# --- generated, and kept


def test_the_schema_is_up_to_date() -> None:
    assert json.loads(SCHEMA.read_text()) == values_schema(), "make docs"


@each_kept
def test_the_kept_manifests_are_of_this_chart(name: str) -> None:
    text = (KEPT / f"{name}.yaml").read_text()
    manifests = text.partition("\n---\n")
    assert text == header(name, "---\n" + manifests[2]) + "---\n" + manifests[2], "make chart"


def test_nothing_else_is_kept() -> None:
    assert sorted(path.stem for path in KEPT.iterdir()) == NAMES
    assert len(NAMES) == 3


def test_a_change_of_anything_that_is_rendered_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(HELM, tmp_path / "helm"))  # what is linked to, is copied
    for constant, path in (("HELM", copy), ("CHART", copy / "promgres")):
        monkeypatch.setattr(chart, constant, path)
    monkeypatch.setattr(chart, "SCHEMA", copy / "promgres" / "values.schema.json")
    before = header("kind", "")
    assert before == header("kind", "")
    sources = [path for path in (copy / "promgres").rglob("*") if path.is_file()]
    assert {"alerts.yml", "values.yaml", "ingest.yaml", "NOTES.txt"} <= {
        path.name for path in sources
    }
    for path in [*sources, copy / "values" / "kind.yaml"]:
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert (header("kind", "") == before) == (path.name == "values.schema.json"), path
        path.write_bytes(content)
    assert header("kind", "a: b\n") != header("kind", "a: c\n")


# --- what values are taken


@pytest.mark.parametrize("values", [*VALUES.values(), {}], ids=[*NAMES, "defaults"])
def test_values_are_taken(values: dict[str, Any]) -> None:
    schema = Draft202012Validator(values_schema())
    schema.validate(values)
    schema.validate(yaml.safe_load((CHART / "values.yaml").read_text()))


REFUSED = {
    "a setting that does not exist": {"config": {"retention": {"internal_day": 3}}},
    "a setting that cannot be": {"config": {"retention": {"internal_days": 1}}},
    "a setting of another type": {"config": {"writer": {"writers": "two"}}},
    "an engine that does not exist": {"config": {"engine": "oracle"}},
    "a rule with a typo": {"config": {"route": [{"match": {"nam": "up"}}]}},
    "a password in clear": {"database": {"owner": {"password": "x"}}},
    "a secret among the settings": {"config": {"jwt_secret": "x" * 32}},
    "a password among the settings": {"config": {"database": {"reader_password": "x"}}},
    "an address that the chart gives": {"config": {"listen": "0.0.0.0:1"}},
    "a value that does not exist": {"image": {"tagg": "1"}},
    "a way of TLS that does not exist": {"database": {"sslMode": "yes"}},
    "no processor at all": {"ingest": {"processors": 0}},
    "a file that is no text": {"configFiles": {"rules": [1]}},
}
TAKEN = {
    "for ever": {"config": {"retention": {"internal_days": 0}}},
    "one name": {"config": {"route": [{"match": {"name": "up"}, "drop": True}]}},
    "other resources": {"api": {"resources": {"limits": {"ephemeral-storage": "1Gi"}}}},
    "another chart around it": {"global": {"a": 1}},
}


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
def test_values_are_refused(values: dict[str, Any]) -> None:
    assert not Draft202012Validator(values_schema()).is_valid(values)


@pytest.mark.parametrize("values", TAKEN.values(), ids=TAKEN)
def test_other_values_are_taken(values: dict[str, Any]) -> None:
    Draft202012Validator(values_schema()).validate(values)
    for rule in values.get("config", {}).get("route", []):
        Settings(route=[rule])


def test_no_secret_can_be_given_in_clear() -> None:
    """A setting with a secret that is new would show up here: it needs a reference of its own."""
    text = json.dumps(values_schema())
    assert '"format": "password"' not in text
    assert '"writeOnly"' not in text


def test_the_document_names_values_that_there_are() -> None:
    text = (ROOT / "docs/how-to/kubernetes.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    paths = re.findall(rf"`((?:{'|'.join(values)})(?:\.\w+)+)(?=[`:])", text)
    assert len(set(paths)) > 20
    settings = {f"config.{setting.path}" for setting in every_setting()}
    for path in set(paths) - settings:
        place = values
        for key in path.split("."):
            assert key in place, path
            place = place[key]

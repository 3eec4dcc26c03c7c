"""The files below deploy/ in the eyes of the programs that read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ingest.config import Settings, load_settings
from tests.support.compose import ROOT

DEPLOY = ROOT / "deploy"
CADDYFILE = str(DEPLOY / "caddy" / "Caddyfile")
RULES = sorted(map(str, (DEPLOY / "vmalert").rglob("*.yml")))
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
ALERTS_TEST = Path(__file__).with_name("alerts_test.yml")
CHECKS = {
    "Prometheus takes its configuration": [
        "promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"),
    ],
    "Prometheus could run the rules as well": ["promtool", "check", "rules", *RULES],
    "vmalert takes the rules": ["vmalert", *(f"-rule={path}" for path in RULES), "-dryRun"],
    "vmalert takes the alerts": ["vmalert", f"-rule={ALERTS}", "-dryRun"],
    "alerts fire when they should": ["promtool", "test", "rules", str(ALERTS_TEST)],
    "Caddy takes the Caddyfile": [
        "caddy", "validate", "--config", CADDYFILE, "--adapter", "caddyfile",
    ],
}  # fmt: skip


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which(command[0]):
        pytest.skip(f"not installed: {command[0]}; python -m tests.support.install")
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS)
def test_it_is_valid(command: list[str]) -> None:
    done = _run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways_and_explained() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(ALERTS_TEST.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {name for name, fires in cases if fires} == alerts
    assert {name for name, fires in cases if not fires} == alerts
    operations = (ROOT / "docs/how-to/operations.md").read_text()
    assert [alert for alert in alerts if f"`{alert}`" not in operations] == []


@pytest.mark.parametrize("path", [ALERTS, *map(Path, RULES)], ids=lambda path: path.name)
def test_rules_ask_for_metrics_that_there_are(path: Path) -> None:
    expressions = re.sub(r"record: \S+", "", path.read_text())
    asked = set(re.findall(r"\bpromgres_\w+", expressions))
    documented = (ROOT / "docs/reference/metrics.md").read_text()
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert names
    assert [name for name in names if f"| `{name}` |" not in documented] == []


def test_no_client_of_caddy_chooses_a_tenant() -> None:
    done = _run("caddy", "adapt", "--config", CADDYFILE, "--adapter", "caddyfile")
    assert '"request":{"delete":["X-Scope-OrgID"]}' in done.stdout


def test_the_caddyfile_is_formatted() -> None:
    done = _run("caddy", "fmt", CADDYFILE)
    assert done.stdout == Path(CADDYFILE).read_text()


def test_promgres_toml_names_the_defaults() -> None:
    assert load_settings(config_file=DEPLOY / "promgres.toml") == Settings()


def test_the_examples_of_promgres_toml_work(tmp_path: Path) -> None:
    text = (DEPLOY / "promgres.toml").read_text()
    uncommented = tmp_path / "promgres.toml"
    uncommented.write_text(re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.M))
    settings = load_settings(config_file=uncommented)
    assert [route.drop for route in settings.route] == [True]
    assert [label.label for label in settings.value_label] == ["supply"]
    assert settings.auth.required


@pytest.mark.parametrize(
    "unit", sorted(path.name for path in (DEPLOY / "systemd").glob("*.service"))
)
def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / unit).read_text()
    program = re.search(r"^ExecStart=(\S+)", text, re.M)
    assert program
    # The unit is checked as it is, but for its program, which is not installed here.
    copy = tmp_path / unit
    copy.write_text(text.replace(program[1], "/bin/true"))
    done = _run("systemd-analyze", "verify", "--man=no", str(copy))
    assert done.returncode == 0, done.stderr
    assert unit not in done.stderr, done.stderr

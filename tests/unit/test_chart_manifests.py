"""The manifests that `make chart` kept: what Kubernetes says of them, and what they promise."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from ingest.config import Settings, load_settings
from ingest.config.document import every_setting
from tests.support.chart import HELM, NAMES, kept, oldest, pods
from tests.support.compose import ROOT, read_compose

MANIFESTS = {name: kept(name) for name in NAMES}
VALUES = {name: yaml.safe_load((HELM / "values" / f"{name}.yaml").read_text()) for name in NAMES}
DATABASE = [each for each in yaml.safe_load_all((HELM / "timescaledb.yaml").read_text()) if each]
NEWEST = kubernetes_validate.latest_version()
OPERATOR = "monitoring.coreos.com/v1"
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
OPERATORS = yaml.safe_load((ROOT / "tests/support/monitoring.schema.yaml").read_text())
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY")

each_kept = pytest.mark.parametrize("name", NAMES)


def of_kind(name: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in MANIFESTS[name] if each["kind"] == kind]


def covers(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def pod_labels(name: str) -> dict[str, dict[str, str]]:
    return {pod: template["metadata"]["labels"] for pod, template in pods(MANIFESTS[name]).items()}


# --- what Kubernetes, and the Prometheus operator, say


def resources(*, operators: bool) -> list[Any]:
    return [
        pytest.param(each, id=f"{name} {each['kind']} {each['metadata']['name']}")
        for name, manifests in {**MANIFESTS, "database": DATABASE}.items()
        for each in manifests
        if (each["apiVersion"] == OPERATOR) == operators
    ]


@pytest.mark.parametrize("resource", resources(operators=False))
def test_kubernetes_takes_it(resource: dict[str, Any]) -> None:
    for version in (oldest(), NEWEST):
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("resource", resources(operators=True))
def test_the_operator_takes_it(resource: dict[str, Any]) -> None:
    Draft202012Validator(OPERATORS).validate(resource)


def test_the_operator_does_not_take_everything() -> None:
    monitor = of_kind("timescaledb", "ServiceMonitor")[0]
    misplaced = {**monitor, "spec": {**monitor["spec"], "interval": "30s"}}
    rule = of_kind("timescaledb", "PrometheusRule")[0]
    no_groups = {**rule, "spec": rule["spec"]["groups"]}
    for wrong in (misplaced, no_groups, {**rule, "kind": "ServiceMonitor"}):
        assert not Draft202012Validator(OPERATORS).is_valid(wrong)


@pytest.mark.parametrize("name", ["managed-postgresql", "timescaledb"])
def test_the_alerts_are_those_of_the_project(name: str, tmp_path: Path) -> None:
    (rule,) = of_kind(name, "PrometheusRule")
    assert rule["spec"] == ALERTS
    if shutil.which("promtool"):
        rules = tmp_path / "rules.yml"
        rules.write_text(yaml.safe_dump(rule["spec"]))
        done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["managed-postgresql", "timescaledb"])
def test_each_side_is_scraped_once_and_known_to_the_alerts(name: str, tmp_path: Path) -> None:
    monitors = of_kind(name, "ServiceMonitor")
    scraped = []
    for monitor in monitors:
        (endpoint,) = monitor["spec"]["endpoints"]
        (service,) = (
            each
            for each in of_kind(name, "Service")
            if covers(monitor["spec"]["selector"]["matchLabels"], each["metadata"]["labels"])
        )
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        (relabel,) = endpoint["relabelings"]
        scraped.append(relabel["replacement"])
        assert relabel["targetLabel"] == "job"
        if shutil.which("promtool"):
            rule = {"target_label": "job", "replacement": relabel["replacement"]}
            job = {
                "job_name": "x",
                "scrape_interval": endpoint["interval"],
                "relabel_configs": [rule],
            }
            config = tmp_path / "prometheus.yml"
            config.write_text(yaml.safe_dump({"scrape_configs": [job]}))
            done = subprocess.run(["promtool", "check", "config", config], capture_output=True)
            assert done.returncode == 0, done.stderr
    assert scraped == ["promgres-ingest", "promgres-api"]
    down = next(
        rule["expr"] for rule in ALERTS["groups"][0]["rules"] if rule["alert"] == "PromgresDown"
    )
    pattern = re.findall(r'job=~"([^"]+)"', down)[0]
    assert all(re.fullmatch(pattern, job) for job in scraped)


# --- what the manifests promise


@each_kept
def test_the_settings_are_those_of_the_values(name: str, tmp_path: Path) -> None:
    maps = [each["data"] for each in of_kind(name, "ConfigMap")]
    configs = [data for data in maps if "promgres.toml" in data]
    assert len(configs) == 2, "one is there before the migration"
    assert configs[0] == configs[1]
    file = tmp_path / "promgres.toml"
    file.write_text(configs[0]["promgres.toml"])
    assert load_settings(config_file=file) == Settings(**VALUES[name].get("config", {}))


def test_grafana_finds_its_data_source() -> None:
    """A key in it is a variable of Grafana's, never a key; the address is the service's."""
    [found] = [each for each in of_kind("managed-postgresql", "ConfigMap")
               if "promgres.toml" not in each["data"]]  # fmt: skip
    assert found["metadata"]["labels"]["grafana_datasource"] == "1"
    [source] = yaml.safe_load(found["data"]["promgres.yaml"])["datasources"]
    assert (source["type"], source["jsonData"]["httpMethod"]) == ("prometheus", "POST")
    assert source["secureJsonData"] == {"httpHeaderValue1": "Bearer $PROMGRES_READ_KEY"}
    services = {each["metadata"]["name"]: each["spec"]["ports"][0]["port"]
                for each in of_kind("managed-postgresql", "Service")}  # fmt: skip
    assert source["url"] == f"http://promgres-api.promgres:{services['promgres-api']}"


@each_kept
def test_variables_are_settings_and_secrets_are_references(name: str) -> None:
    known = {setting.environment for setting in every_setting()} | {
        "PROMGRES_CONFIG", "PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT", "PYTHON_CPU_COUNT",
    }  # fmt: skip
    for pod, template in pods(MANIFESTS[name]).items():
        (container,) = template["spec"]["containers"]
        variables = {each["name"]: each for each in container["env"]}
        assert len(variables) == len(container["env"])
        assert set(variables) <= known
        for variable, each in variables.items():
            is_secret = bool(SECRET.search(variable))
            assert ("valueFrom" in each) == is_secret, f"{variable} of {pod}"
        owners = {"PROMGRES_DATABASE_URL", "PROMGRES_API_PASSWORD"} & set(variables)
        assert (
            owners
            == {
                "migrate": {"PROMGRES_DATABASE_URL", "PROMGRES_API_PASSWORD"},
                "ingest": {"PROMGRES_DATABASE_URL"},
                "api": set(),
            }[pod]
        ), "the read side knows no other login than its own"


@each_kept
def test_every_pod_is_hardened(name: str) -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    users = {side: int(uid) for side, uid in re.findall(r"\b(ingest|api):(\d+)", dockerfile)}
    for pod, template in pods(MANIFESTS[name]).items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "its variables would begin with PROMGRES_"
        assert spec["securityContext"]["runAsUser"] == users["api" if pod == "api" else "ingest"]
        is_hardened(template)


def test_so_is_the_database() -> None:
    (stateful_set,) = (each for each in DATABASE if each["kind"] == "StatefulSet")
    is_hardened(stateful_set["spec"]["template"])
    service = read_compose({"POSTGRES_PASSWORD": "x", "PROMGRES_API_PASSWORD": "y"})["services"]
    (container,) = stateful_set["spec"]["template"]["spec"]["containers"]
    assert container["image"] == service["timescaledb"]["image"]


def is_hardened(template: dict[str, Any]) -> None:
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])


@each_kept
def test_whatever_selects_finds_something(name: str) -> None:
    labels = pod_labels(name)
    for kind in ("Service", "NetworkPolicy", "PodDisruptionBudget", "StatefulSet", "Deployment"):
        for each in of_kind(name, kind):
            selector = each["spec"].get("podSelector") or each["spec"]["selector"]
            wanted = selector.get("matchLabels", selector)
            side = re.sub(r"^promgres-|-pods$", "", each["metadata"]["name"])
            found = [pod for pod in labels if covers(wanted, labels[pod])]
            assert found == [side], f"{kind} {each['metadata']['name']}"
    names = {each["metadata"]["name"] for each in MANIFESTS[name]}
    for ingress in of_kind(name, "Ingress"):
        paths = ingress["spec"]["rules"][0]["http"]["paths"]
        assert {path["backend"]["service"]["name"] for path in paths} <= names
        assert not any("/metrics".startswith(path["path"]) for path in paths if path["path"] != "/")
        assert {path["pathType"] for path in paths if path["path"] == "/"} <= {"Exact"}


@each_kept
def test_the_migration_comes_first_with_all_that_it_needs(name: str) -> None:
    first, *others = pods(MANIFESTS[name])
    assert (first, sorted(others)) == ("migrate", ["api", "ingest"])
    (job,) = of_kind(name, "Job")
    hooks = {
        each["metadata"]["name"]: each["metadata"]["annotations"]
        for each in MANIFESTS[name]
        if each["kind"] in ("Job", "ConfigMap") and "annotations" in each["metadata"]
    }
    assert {each["helm.sh/hook"] for each in hooks.values()} == {"pre-install,pre-upgrade"}
    (config,) = (each for each in job["spec"]["template"]["spec"]["volumes"] if "configMap" in each
                 and each["name"] == "config")  # fmt: skip
    assert config["configMap"]["name"] in hooks


@each_kept
def test_stopping_leaves_time_for_the_drain(name: str) -> None:
    drain = Settings().receiver.answer_timeout_seconds + 5
    for pod in ("ingest", "api"):
        spec = pods(MANIFESTS[name])[pod]["spec"]
        _, pause = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert spec["terminationGracePeriodSeconds"] >= int(pause) + drain + 10


def test_what_is_switched_off_is_not_there() -> None:
    kinds = {name: {each["kind"] for each in MANIFESTS[name]} for name in NAMES}
    switched = {"HorizontalPodAutoscaler", "PodDisruptionBudget", "Ingress", "ServiceMonitor",
                "PrometheusRule"}  # fmt: skip
    assert kinds["kind"] & switched == set()
    assert kinds["managed-postgresql"] & switched == switched
    assert [each["spec"]["replicas"] for each in of_kind("kind", "Deployment")] == [1]
    assert all("replicas" not in each["spec"] for each in of_kind("timescaledb", "Deployment"))


def test_the_database_is_named_where_the_password_is_not() -> None:
    for name in NAMES:
        host, port = VALUES[name]["database"]["host"], 5432
        for template in pods(MANIFESTS[name]).values():
            urls = [
                each["value"]
                for each in template["spec"]["containers"][0]["env"]
                if each["name"].endswith("DATABASE_URL")
            ]
            assert all(re.fullmatch(rf"postgresql://\w+@{host}:{port}/\w+", url) for url in urls)
            assert urls

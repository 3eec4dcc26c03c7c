"""What compose.yaml promises can be read in it; the compose specification's schema has its say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml

from ingest.config import Settings
from tests.support.compose import COMPOSE, ROOT, interpolate, read_compose, seconds, variables_in

TEXT = COMPOSE.read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY")
VARIABLES = {"POSTGRES_PASSWORD": "one", "PROMGRES_API_PASSWORD": "two"}
WHOLE = read_compose(VARIABLES)
SERVICES: dict[str, dict[str, Any]] = WHOLE["services"]
RAW: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
PINNED = re.compile(r"[a-z][a-z0-9/_-]*:v?\d+\.\d+\.\d+(-[a-z0-9.]+)*")

each_service = pytest.mark.parametrize("name", SERVICES)


def test_it_follows_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, COMPOSE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_service
def test_every_image_is_pinned(name: str) -> None:
    assert PINNED.fullmatch(SERVICES[name]["image"])


def test_the_image_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = {service["image"] for service in SERVICES.values() if "build" in service}
    assert ours == {f"promgres:{version}"}


@each_service
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    assert "privileged" not in service
    assert service["logging"]["options"]["max-size"]


@each_service
def test_nothing_runs_as_root(name: str) -> None:
    user = SERVICES[name].get("user")
    if user is None:
        assert "build" in SERVICES[name], "the image's own user is not ours to know"
        user = re.findall(r"^USER (\S+)$", (ROOT / "deploy/Dockerfile").read_text(), re.M)[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@each_service
def test_secrets_have_no_default(name: str) -> None:
    for key, value in RAW[name].get("environment", {}).items():
        if SECRET.search(key) and value is not None:
            assert re.fullmatch(r"\$\{\w+:\?[^{}]+\}", value), f"{key} of {name}"


def test_secret_variables_must_be_set() -> None:
    secrets = {found["name"]: found["operator"] for found in variables_in(TEXT)}
    secrets = {variable: sign for variable, sign in secrets.items() if SECRET.search(variable)}
    assert secrets == dict.fromkeys(VARIABLES, ":?")
    for missing in VARIABLES:
        with pytest.raises(ValueError, match=f"set {missing} in .env"):
            read_compose({**VARIABLES, missing: ""})


def test_the_example_names_every_variable_and_no_secret() -> None:
    handed_on = {
        key
        for service in RAW.values()
        for key, value in service.get("environment", {}).items()
        if value is None
    }
    used = {found["name"] for found in variables_in(TEXT)} | handed_on
    named = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", EXAMPLE, re.M))
    assert set(named) == used
    assert all(not value for key, value in named.items() if SECRET.search(key))


def test_the_example_names_the_real_defaults() -> None:
    named = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.+)$", EXAMPLE, re.M))
    assert named == {f["name"]: f["operand"] for f in variables_in(TEXT) if f["operator"] == ":-"}


def test_ports_are_published_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(published) == [
        "127.0.0.1:3000:3000",
        "127.0.0.1:3001:3000",
        "127.0.0.1:9090:9090",
        "127.0.0.1:9273:9273",
    ]


@each_service
def test_who_is_waited_for_can_tell(name: str) -> None:
    for other, rule in SERVICES[name].get("depends_on", {}).items():
        if rule["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert rule["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


@each_service
def test_what_stays_up_is_restarted_and_watched(name: str) -> None:
    service = SERVICES[name]
    if name == "migrate":
        assert service["restart"] == "no"
    elif service.get("profiles") == [
        "backfill"
    ]:  # it ends by itself, and goes on where it was killed
        assert service["restart"] == "on-failure"
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"


def test_stopping_leaves_time_for_the_drain() -> None:
    drain = Settings().receiver.answer_timeout_seconds + 5
    assert seconds(SERVICES["ingest"]["stop_grace_period"]) >= drain + 10
    for sender in ("prometheus", "vmalert", "vmalert-promgres", "caddy"):
        assert seconds(SERVICES[sender]["stop_grace_period"]) >= drain


@each_service
def test_what_is_mounted_is_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, _, *options = mount.split(":")
        if source.startswith("./"):
            assert (ROOT / source).is_file()
            assert options == ["ro"]
        else:
            assert source in WHOLE["volumes"]


def test_only_who_needs_the_database_reaches_it() -> None:
    inside = {
        name for name, service in SERVICES.items() if "database" in service.get("networks", [])
    }
    assert inside == {"timescaledb", "migrate", "ingest", "api"}
    assert WHOLE["networks"]["database"]["internal"] is True
    assert "POSTGRES_PASSWORD" not in str(RAW["api"]["environment"]), (
        "the owner's is not for readers"
    )


def test_a_vmalert_reads_promgres_in_its_profile() -> None:
    """With the same rules, and nothing else otherwise; it needs no Prometheus."""
    usual, other = SERVICES["vmalert"], SERVICES["vmalert-promgres"]
    assert "profiles" not in usual
    assert other["profiles"] == ["forget"]
    same = {key: value for key, value in usual.items() if key not in ("command", "depends_on")}
    assert same.items() <= other.items()
    changed = set(other["command"]) - set(usual["command"])
    assert changed == {"-datasource.url=http://api:3000", "-remoteRead.url=http://api:3000"}
    assert "prometheus" not in other["depends_on"]


def test_grafana_knows_promgres() -> None:
    """Its data source is where the read side is, in the network that both are in."""
    mounts = [mount.split(":")[0] for mount in SERVICES["grafana"]["volumes"]]
    [source] = yaml.safe_load((ROOT / mounts[0]).read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://api:3000")
    assert "api" in SERVICES["grafana"]["depends_on"]
    assert "default" in SERVICES["api"]["networks"]


def test_the_env_file_is_not_for_git() -> None:
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$$HOME", "$HOME"),
        ("${A}", "a"),
        ("${A:-b}${EMPTY:-b}${NONE:-b}", "abb"),
        ("${EMPTY-b}${NONE-b}", "b"),
        ("${A:?no}", "a"),
    ],
)
def test_interpolation(text: str, expected: str) -> None:
    assert interpolate(text, {"A": "a", "EMPTY": ""}) == expected

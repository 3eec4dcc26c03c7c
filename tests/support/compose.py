"""compose.yaml without a container engine: its variables, its services, and the same as processes.

A service becomes a process with the command and the environment of the file. Host names become
127.0.0.1 and ports become free ones, in commands, environment, health checks and mounted files
alike; mounts become files below a folder of the test.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import PROMGRES, Program, free_port, wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
ENTRYPOINTS = {
    "promgres": [str(PROMGRES)],
    "prom/prometheus": ["prometheus"],
    "victoriametrics/vmalert": ["vmalert"],
    "caddy": [],
}
"""What an image starts before the command of the file."""

INTERVAL = re.compile(r"\b((?:scrape_|evaluation_)?interval): \d+s")
SITE = re.compile(r"^:(\d+) \{", re.MULTILINE)
OWN = ("0.0.0.0", "127.0.0.1", "localhost")  # how a service names itself
VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<operator>:?[-?])(?P<operand>[^{}]*))?\})"
)


def variables_in(text: str) -> Iterator[re.Match[str]]:
    """Every `${NAME…}`: groups `name`, `operator` (`:-`, `-`, `:?`, `?` or None), `operand`."""
    return (found for found in VARIABLE.finditer(text) if found["name"])


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """`text` with its variables replaced, as the compose specification says.

    Raises:
        ValueError: a variable with `?` is missing; the message is the file's own.
    """

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        given = variables.get(found["name"])
        operator = found["operator"] or "-"
        if given or (given is not None and ":" not in operator):
            return given
        if "?" in operator:
            raise ValueError(f"{found['name']}: {found['operand']}")
        return found["operand"] or ""

    return VARIABLE.sub(value, text)


def read_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """The whole file, anchors merged and variables replaced.

    Raises:
        ValueError: a variable that must be set is not.
    """

    def replace(part: Any) -> Any:
        if isinstance(part, str):
            return interpolate(part, variables)
        if isinstance(part, dict):
            return {key: replace(value) for key, value in part.items()}
        return [replace(value) for value in part] if isinstance(part, list) else part

    whole: dict[str, Any] = replace(yaml.safe_load(COMPOSE.read_text()))
    return whole


def seconds(duration: str) -> int:
    """`45s` or `2m` in seconds."""
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


@dataclass
class Stack:
    """The services of compose.yaml as processes, started and stopped as depends_on says.

    Args:
        directory: where mounts and volumes are put.
        variables: what a `.env` would hold.
        given: services that run already, and the port on 127.0.0.1 of each.
        only: names of the services to start; all that are not given and have no profile by default.
        extra: environment for every `promgres` process, beside the file's.
    """

    directory: Path
    variables: Mapping[str, str]
    given: Mapping[str, int]
    only: Sequence[str] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = read_compose(self.variables)["services"]
        self.programs: dict[str, Program] = {}
        self._ports: dict[tuple[str, str], int] = {}
        names = "|".join(map(re.escape, [*self.services, *OWN]))
        self._address = re.compile(rf"\b({names}):(\d{{2,5}})\b")

    def port(self, service: str, inner: int | str) -> int:
        """The local port behind a service's port."""
        if service in self.given:
            return self.given[service]
        return self._ports.setdefault((service, str(inner)), free_port())

    def url(self, service: str) -> str:
        """Where the published port of a service is."""
        inner = self.services[service]["ports"][0].rpartition(":")[2]
        return f"http://127.0.0.1:{self.port(service, inner)}"

    def up(self) -> None:
        """Start everything, each service after what it depends on.

        Raises:
            AssertionError: a service that others wait for is not healthy or failed.
        """
        for name in self._in_order():
            for dependency, rule in self.services[name].get("depends_on", {}).items():
                self._await(dependency, rule["condition"])
            self._start(name)
        for name in self.programs:
            if "healthcheck" in self.services[name]:
                self._await(name, "service_healthy")

    def down(self) -> dict[str, int]:
        """Stop in reverse order, each within its grace period; exit status of each service."""
        return {name: self.stop(name) for name in reversed(self.programs)}

    def stop(self, name: str) -> int:
        """Stop one service as an engine would; its exit status."""
        program, service = self.programs[name], self.services[name]
        if program.process.poll() is not None:
            return program.wait()
        grace = seconds(service.get("stop_grace_period", "10s"))
        return program.stop(signal.SIGTERM, grace)

    def start(self, name: str) -> Program:
        """Start a service of a profile, and wait until it is healthy."""
        self._start(name)
        self._await(name, "service_healthy")
        return self.programs[name]

    def run(self, name: str) -> Program:
        """Start a service that ends by itself, as a replay does, and wait for its end."""
        self._start(name)
        self.programs[name].wait(120)
        return self.programs[name]

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self.programs.values():
            program.__exit__(None, None, None)

    def healthy(self, name: str) -> bool:
        """Whether a service's own health check passes right now."""
        program = self.programs[name]
        assert program.process.poll() is None, f"{name} ended:\n{program.output}"
        kind, first, *rest = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        command = [sys.executable if first == "python" else first, *rest]
        local = [self._local(part, name) for part in command]
        return subprocess.run(local, capture_output=True, check=False).returncode == 0

    def _in_order(self) -> list[str]:
        order: list[str] = []

        def visit(name: str) -> None:
            for dependency in self.services[name].get("depends_on", {}):
                visit(dependency)
            if name not in order and name not in self.given:
                order.append(name)

        usual = [name for name, service in self.services.items() if "profiles" not in service]
        for name in self.only or usual:
            visit(name)
        return order

    def _await(self, name: str, condition: str) -> None:
        if name in self.given:
            return
        if condition == "service_completed_successfully":
            program = self.programs[name]
            assert program.wait(120) == 0, program.output
            return
        assert condition == "service_healthy"
        try:
            # Each question starts a Python of its own.
            wait_until(lambda: self.healthy(name), 60, f"{name} is healthy", every=0.4)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.programs[name].output}") from None

    def _start(self, name: str) -> None:
        service = self.services[name]
        image = service["image"].rpartition(":")[0]
        mounts = self._mount(name)
        command = [*ENTRYPOINTS[image], *map(str, service["command"])]
        local = [_move(self._local(part, name), mounts) for part in command]
        environment = {
            key: self.variables.get(key) if value is None else str(value)
            for key, value in service.get("environment", {}).items()
        }
        moved = {
            key: value and _move(self._local(value, name), mounts)
            for key, value in environment.items()
        }
        extra = self.extra if image == "promgres" else {}
        self.programs[name] = Program(*local, env={**moved, **extra}, cwd=self.directory)

    def _mount(self, name: str) -> dict[str, Path]:
        """Put the mounts of a service in place: path in the container -> local path."""
        service, mounts = self.services[name], {}
        for mount in service.get("volumes", []):
            source, target = mount.split(":")[:2]
            mounts[target] = place = self._place(name, target)
            if source.startswith("./"):
                place.write_text(self._config(ROOT / source, name))
            else:
                place.mkdir(exist_ok=True)
        for mount in service.get("tmpfs", []):
            target = mount.partition(":")[0]
            if target != "/tmp":
                mounts[target] = place = self._place(name, target)
                place.mkdir()
        return mounts

    def _place(self, name: str, target: str) -> Path:
        place = self.directory / name / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _config(self, path: Path, name: str) -> str:
        """A mounted file: local addresses, and everything that is periodic once a second."""
        text = INTERVAL.sub(r"\1: 1s", self._local(path.read_text(), name))
        return SITE.sub(lambda site: f":{self.port(name, site[1])} {{\n\tbind 127.0.0.1\n", text)

    def _local(self, text: str, name: str) -> str:
        def address(found: re.Match[str]) -> str:
            owner = name if found[1] in OWN else found[1]
            return f"127.0.0.1:{self.port(owner, found[2])}"

        return self._address.sub(address, text)


def missing_programs(names: Sequence[str] = ()) -> list[str]:
    """Debian's programs that the stack, or these services, need and that are not here."""
    wanted = {"prometheus": "prometheus", "vmalert": "vmalert", "caddy": "caddy"}
    programs = [wanted[name] for name in names or wanted if name in wanted]
    return [program for program in programs if not shutil.which(program)]


def _move(text: str, mounts: Mapping[str, Path]) -> str:
    if not mounts:
        return text
    targets = "|".join(map(re.escape, sorted(mounts, key=len, reverse=True)))
    return re.sub(rf"(?<![\w/.-])({targets})(?![\w/.-])", lambda found: str(mounts[found[1]]), text)

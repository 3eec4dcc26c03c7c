"""The real senders, as Debian ships them: Prometheus, its pushgateway, vmalert and vmagent.

Each is a process on a free loopback port with its files in a folder of the test; a `with` block
starts it, waits until it is ready, and ends it. Its output is `sender.program.output`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import pytest
import yaml

from tests.support.install import SENDERS
from tests.support.processes import Program, free_port, get, wait_until
from tests.support.remote_write import send

Kind = TypeVar("Kind", bound="Sender")
QUEUE = {"batch_send_deadline": "1s"}
COMPLAINT = re.compile(r"level=(warn|error)|\t(warn|error|fatal|panic)\t|retry", re.IGNORECASE)


@dataclass
class Sender:
    """A sender that runs.

    Attributes:
        address: HOST:PORT of its own HTTP server.
        program: its process.
    """

    address: str
    program: Program

    @property
    def url(self) -> str:
        """Where its own HTTP server is."""
        return f"http://{self.address}"

    def metric(self, name: str) -> float:
        """A metric of its own, summed over all its labels; 0 if there is none."""
        _, text = get(f"{self.url}/metrics")
        lines = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)", text, re.MULTILINE)
        return sum(float(value) for value in lines)

    def complaints(self) -> list[str]:
        """Lines of its log that are warnings or errors, or speak of a retry."""
        return [line for line in self.program.output.splitlines() if COMPLAINT.search(line)]

    def stop(self) -> None:
        """SIGTERM; it sends what it still has."""
        status = self.program.stop()
        assert status in (0, -signal.SIGTERM), self.program.output


@dataclass
class Pushgateway(Sender):
    """Holds what scripts push until Prometheus scrapes it."""

    def push(self, job: str, text: str) -> None:
        """Replace everything of `job` by these lines of the exposition format."""
        answer = send(f"{self.url}/metrics/job/{job}", text.encode(), {}, method="PUT")
        assert answer.status == 200, answer.text


@dataclass
class Prometheus(Sender):
    """Scrapes, answers queries, and writes what it scraped to a write side."""

    config: Path = field(default_factory=Path)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression: `metric` and `value` of each element."""
        status, text = get(f"{self.url}/api/v1/query?" + urlencode({"query": expression}))
        assert status == 200, text
        answer: list[dict[str, Any]] = yaml.safe_load(text)["data"]["result"]
        return answer

    def stop_scraping(self) -> None:
        """Let go of every target, and wait until all that was scraped has been sent."""
        config = yaml.safe_load(self.config.read_text())
        self.config.write_text(yaml.safe_dump(config | {"scrape_configs": []}))
        loads = self.program.output.count("Completed loading")
        self.program.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.program.output.count("Completed loading") > loads)
        wait_until(self._sent_everything, what="Prometheus has nothing left to send")

    def sent(self, kind: str) -> float:
        """How many samples, exemplars or histograms were sent and acknowledged."""
        return self.metric(f"prometheus_remote_storage_{kind}_total")

    def _sent_everything(self) -> bool:
        kinds = ("samples", "histograms", "exemplars")
        sent = {kind: self.sent(kind) for kind in kinds}
        taken = {kind: self.metric(f"prometheus_remote_storage_{kind}_in_total") for kind in kinds}
        appended = self.metric("prometheus_tsdb_head_samples_appended_total")  # histograms too
        return sent == taken and sent["samples"] + sent["histograms"] >= appended


@contextmanager
def pushgateway() -> Iterator[Pushgateway]:
    """A pushgateway that keeps everything in memory."""
    address = _address("prometheus-pushgateway")
    options = [f"--web.listen-address={address}", "--persistence.file="]
    with Program("prometheus-pushgateway", *options) as program:
        yield _ready(Pushgateway(address, program), "/-/ready")


@contextmanager
def prometheus(
    folder: Path,
    write_url: str,
    targets: Mapping[str, str],
    interval: str = "1s",
    external_labels: Mapping[str, str] | None = None,
    features: Sequence[str] = (),
    remote_write: Mapping[str, object] | None = None,
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes itself (job `prometheus`) and `targets`, and writes to `write_url`.

    Args:
        folder: for its configuration and its data.
        write_url: the write side's endpoint.
        targets: address by job; labels of what is scraped are honoured.
        interval: between two scrapes.
        external_labels: labels that all it sends carries.
        features: to be enabled.
        remote_write: more settings of `remote_write`.
    """
    address = _address("prometheus")
    jobs = {"prometheus": address, **targets}
    config = folder / "prometheus.yml"
    settings = {
        "global": {"scrape_interval": interval, "external_labels": dict(external_labels or {})},
        "scrape_configs": [_job(name, target) for name, target in jobs.items()],
        "remote_write": [{"url": write_url, "queue_config": QUEUE, **(remote_write or {})}],
    }
    config.write_text(yaml.safe_dump(settings))
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={address}",
        *(f"--enable-feature={feature}" for feature in features),
    ]
    with Program("prometheus", *options) as program:
        yield _ready(Prometheus(address, program, config), "/-/ready")


@contextmanager
def vmalert(
    folder: Path,
    query_url: str,
    write_url: str,
    rules: Mapping[str, Sequence[Mapping[str, object]]],
    interval: str = "1s",
    external_labels: Mapping[str, str] | None = None,
    notifier_url: str | None = None,
) -> Iterator[Sender]:
    """A vmalert that evaluates recording rules, or alerts, too.

    Args:
        folder: for its rules.
        query_url: a Prometheus that answers the expressions.
        write_url: the write side, without the path `/api/v1/write` that vmalert adds.
        rules: rules by group; alerts among them need a notifier.
        interval: between two evaluations.
        external_labels: labels that all it writes carries.
        notifier_url: where alerts are sent; their state is read back from `query_url`.
    """
    address = _address("vmalert")
    file = folder / "rules.yml"
    groups = [
        {"name": name, "interval": interval, "rules": [dict(rule) for rule in group]}
        for name, group in rules.items()
    ]
    file.write_text(yaml.safe_dump({"groups": groups}))
    options = [
        f"-rule={file}",
        f"-datasource.url={query_url}",
        f"-remoteWrite.url={write_url}",
        "-remoteWrite.flushInterval=1s",
        f"-httpListenAddr={address}",
        *(f"-external.label={name}={value}" for name, value in (external_labels or {}).items()),
        *(
            [f"-notifier.url={notifier_url}", f"-remoteRead.url={query_url}"]
            if notifier_url
            else []
        ),
    ]
    with Program("vmalert", *options) as program:
        yield _ready(Sender(address, program), "/health")


@contextmanager
def vmagent(
    folder: Path, write_url: str, targets: Mapping[str, str], interval: str = "1s"
) -> Iterator[Sender]:
    """A vmagent that scrapes `targets` (address by job) and writes to `write_url`."""
    address = _address("vmagent")
    config = folder / "vmagent.yml"
    jobs = [_job(name, target) for name, target in targets.items()]
    settings = {"global": {"scrape_interval": interval}, "scrape_configs": jobs}
    config.write_text(yaml.safe_dump(settings))
    options = [
        f"-promscrape.config={config}",
        f"-remoteWrite.url={write_url}",
        f"-remoteWrite.tmpDataPath={folder / 'vmagent'}",
        f"-httpListenAddr={address}",
    ]
    with Program("vmagent", *options) as program:
        yield _ready(Sender(address, program), "/health")


def _job(name: str, target: str) -> dict[str, object]:
    return {
        "job_name": name,
        "honor_labels": True,
        "static_configs": [{"targets": [target]}],
    }


def require(program: str) -> None:
    """Skip the test, or in CI fail it, where a program is not on this machine."""
    if shutil.which(program) is None:
        reason = f"{program} is not installed: as root, apt-get install {SENDERS[program]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def _address(program: str) -> str:
    """A free address for a program, which is on this machine; else the test skips."""
    require(program)
    return f"127.0.0.1:{free_port()}"


def _ready(sender: Kind, path: str) -> Kind:
    wait_until(lambda: get(sender.url + path)[0] == 200, what=sender.program.output)
    return sender

"""Prometheus' own remote-write receiver, to send the same to somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.processes import Program, free_port, get, public_directory, wait_until


@contextmanager
def prometheus_receiver() -> Iterator[str]:
    """A Prometheus that scrapes nothing; its endpoint."""
    port = free_port()
    with public_directory() as directory:
        (directory / "prometheus.yml").write_text("scrape_configs: []\n")
        command = (
            "prometheus",
            f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            "--enable-feature=native-histograms",
        )
        with Program(*command) as program:
            wait_until(lambda: get(f"http://127.0.0.1:{port}/-/ready")[0] == 200)
            yield f"http://127.0.0.1:{port}/api/v1/write"
            program.stop()

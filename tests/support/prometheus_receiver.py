"""Prometheus with its own remote-write receiver: to send somebody else the same, and ask them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import Program, free_port, get, public_directory, wait_until

WRITE = "/api/v1/write"


@contextmanager
def prometheus_receiver(
    program: str | Path = "prometheus",
    *options: str,
    config: str = "scrape_configs: []\n",
) -> Iterator[str]:
    """A Prometheus that scrapes nothing; its endpoint of remote write.

    Args:
        program: of which version.
        config: its whole configuration, as YAML.
    """
    port = free_port()
    with public_directory() as directory:
        (directory / "prometheus.yml").write_text(config)
        command = (
            program,
            f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            "--enable-feature=native-histograms",
            *options,
        )
        with Program(*command) as process:
            ready = f"http://127.0.0.1:{port}/-/ready"
            wait_until(lambda: get(ready)[0] == 200, what=process.output)
            yield f"http://127.0.0.1:{port}{WRITE}"
            process.stop()

"""`promgres agent`: facts about this machine, every few seconds."""

from __future__ import annotations

import logging
import signal
import threading
import uuid

import click

from ingest.cli.nodefacts import Node, load_psutil, measures_of
from ingest.cli.remote import with_server
from promgres_client import Client

GOODBYE_SECONDS = 10.0


@click.command("agent")
@click.option("--interval", type=click.FloatRange(min=0.1), default=5.0, show_default=True,
              help="seconds between reports")  # fmt: skip
@click.option(
    "--once", is_flag=True, help="report once and end; exit status 1 if it was not stored"
)
@with_server
def command(url: str, key: str | None, interval: float, once: bool) -> None:
    """Report processor, memory, swap and load of this machine until Ctrl-C.

    Each report is an event `node_data` with the fields of the older agent, and measures such as
    `node_cpu_percent`. While the server is away the newest reports are kept and sent later.
    """
    psutil = load_psutil()
    logging.basicConfig(format="%(asctime)s %(message)s")
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    client = Client(url, key, when_full="drop_oldest", max_items=10_000)
    node = Node(psutil, str(uuid.uuid4()))
    _report(client, node)
    while not once and not end.wait(interval):
        _report(client, node)
    if not client.close(GOODBYE_SECONDS) or (once and client.dropped):
        raise SystemExit(1)


def _report(client: Client, node: Node) -> None:
    facts = node.facts()
    client.event("node_data", attributes=facts)
    for name, value in measures_of(facts).items():
        client.measure(name, value, node=node.name)

"""The product as a user runs it: `promgres up` on a data directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import PROMGRES, Program, public_directory


@dataclass(frozen=True)
class Stack:
    """A running `promgres up`.

    Attributes:
        write_url: endpoint of remote write.
        directory: its data directory.
        read_url: `…/rpc/`.
        database_url: superuser of the embedded database.
    """

    program: Program
    directory: Path
    write_url: str
    read_url: str
    database_url: str


@contextmanager
def running_stack(promgres: Path = PROMGRES, **environment: str) -> Iterator[Stack]:
    """Start it, wait until it is ready, end it.

    Args:
        promgres: the command, of this checkout or of another.
    """
    with public_directory() as directory:
        env = {
            "PROMGRES_DATA_DIR": str(directory / "data"),
            "PROMGRES_LISTEN": "127.0.0.1:0",
            "PROMGRES_API_LISTEN": "127.0.0.1:0",
            "PROMGRES_LOG_LEVEL": "warning",
            **environment,
        }
        with Program(promgres, "up", env=env) as program:
            write_url = program.wait_for(r"write  (\S+)").group(1)
            read_url = program.wait_for(r"read   (\S+)").group(1)
            database_url = program.wait_for(r"^\s+(postgresql://\S+)").group(1)
            yield Stack(program, directory / "data", write_url, read_url, database_url)
            assert program.stop() == 0, program.output

"""A service that is a command of ours: a child process that answers on `/-/ready`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ingest.config.addresses import reachable_address, split_address
from ingest.errors import PromgresError
from ingest.lifeline import ENVIRONMENT as LIFELINE
from ingest.logs import get_logger
from ingest.supervisor.services import ServiceEnded

log = get_logger("up")

REFUSED = 2
"""The exit status of a command that has said in one line what the operator must change."""

POLL_SECONDS = 0.05
ANSWER_SECONDS = 5.0
SAY_SO_EVERY_SECONDS = 10.0
GOODBYE_SECONDS = 15.0
"""How long a child may take to end; it gives up by itself after 10."""


class ChildRefused(PromgresError):
    """A child said on standard error what the operator must change, and ended with status 2."""


@dataclass(frozen=True)
class Ties:
    """What binds children to their parent.

    Attributes:
        lifeline: read end of a pipe; its end of file tells them that the parent is gone.
        family_lock: descriptor whose lock tells the next parent that some of them still live.
    """

    lifeline: int
    family_lock: int


class Child:
    """A child process that serves HTTP.

    Args:
        command: program and arguments; what it must not show in `ps` goes into `environment`.
        environment: all of its variables.
        address: `HOST:PORT` where it answers `/-/ready`.
        ties: see `Ties`.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], address: str, ties: Ties
    ) -> None:
        self._command = command
        self._environment = {**environment, LIFELINE: str(ties.lifeline)}
        self.address = reachable_address(address)
        self._ties = ties
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready, as long as that takes.

        It has a session of its own: Ctrl-C in the terminal reaches the parent alone, which ends
        its children in order.

        Raises:
            ChildRefused: it ended with status 2, and has said why.
            ServiceEnded: it ended otherwise.
        """
        self._process = await self._spawn()
        ended = asyncio.ensure_future(self._process.wait())
        try:
            await self._until_ready(ended)
        finally:
            ended.cancel()

    async def wait(self) -> int:
        """Wait until it has ended; its exit status, negative for a signal."""
        assert self._process, "not started"
        return await self._process.wait()

    async def stop(self, at_once: bool = False) -> None:
        """SIGTERM, and SIGKILL when that takes too long or `at_once` is asked for."""
        if not self._process:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), GOODBYE_SECONDS)
            if self._process.returncode is None:
                log.error("does not end, killing it", command=self._command[-1])
                self._process.kill()
        await self._process.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(self._ties.lifeline, self._ties.family_lock),
                start_new_session=True,
            )
        except OSError as error:  # no more processes; an upgrade is replacing the program
            raise ServiceEnded(f"cannot start `promgres {self._command[-1]}`: {error}") from None

    async def _until_ready(self, ended: asyncio.Future[int]) -> None:
        loop = asyncio.get_running_loop()
        said = loop.time()
        while not await is_ready(self.address):
            await asyncio.wait([ended], timeout=POLL_SECONDS)
            if ended.done():
                status = ended.result()
                kind = ChildRefused if status == REFUSED else ServiceEnded
                raise kind(f"`promgres {self._command[-1]}` ended with status {status}")
            if loop.time() - said > SAY_SO_EVERY_SECONDS:
                said = loop.time()
                log.warning("not ready yet", command=self._command[-1], address=self.address)


async def is_ready(address: str) -> bool:
    """Whether `GET /-/ready` at `HOST:PORT` is answered 200."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await _status(address) == b"200"
    except (OSError, TimeoutError):
        return False


async def _status(address: str) -> bytes:
    reader, writer = await asyncio.open_connection(*split_address(address))
    try:
        writer.write(f"GET /-/ready HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        words = (await reader.readline()).split()
        return words[1] if len(words) > 1 else b""
    finally:
        writer.close()

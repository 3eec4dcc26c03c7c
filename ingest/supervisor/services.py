"""What keeps services running until they are asked to end."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ingest.errors import PromgresError
from ingest.logs import get_logger

log = get_logger("up")

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 15.0
STEADY_SECONDS = 60.0
"""A service that has run so long is past what made it end before."""
FIRST_TRIES = 3
"""How often a service is tried before it has run once."""


class ServiceEnded(PromgresError):
    """A service ended instead of getting ready; another try may go better."""


class Service(Protocol):
    """Something with a process of its own."""

    async def start(self) -> None:
        """Start it and wait until it serves. May be called again after it has ended.

        Raises:
            ServiceEnded: it ended instead.
            PromgresError: it ended and would again: the operator must change something.
        """

    async def wait(self) -> int:
        """Wait until it has ended; its exit status, negative for a signal."""

    async def stop(self, at_once: bool = False) -> None:
        """End it and wait until it has; `at_once` without saying goodbye."""


class Keeper:
    """Starts services, starts again whichever ends, and ends them all in reverse order."""

    def __init__(self) -> None:
        self._stages: dict[int, dict[str, Service]] = {}
        self._keeping: list[asyncio.Task[None]] = []

    async def start(self, services: dict[str, Service], stage: int = 0) -> None:
        """Start some services at the same time, by name; from then on they are kept running.

        Args:
            stage: those of the highest are ended first, whenever they were started.

        Raises:
            PromgresError: one of them does not start.
        """
        self._stages.setdefault(stage, {}).update(services)
        starting = [asyncio.ensure_future(_start_first(*each)) for each in services.items()]
        try:
            await asyncio.gather(*starting)
        finally:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
        self._keeping += [
            asyncio.ensure_future(_keep(name, service)) for name, service in services.items()
        ]

    async def watch(self) -> None:
        """Run until cancelled."""
        await asyncio.gather(*self._keeping)

    async def stop(self, hurry: asyncio.Event) -> None:
        """End everything, the highest stage first; once `hurry` is set, at once."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        for stage in sorted(self._stages, reverse=True):
            services = self._stages[stage].values()
            await asyncio.gather(*(_stop(service, hurry) for service in services))


async def _start_first(name: str, service: Service) -> None:
    for tries_left in reversed(range(FIRST_TRIES)):
        try:
            return await service.start()
        except ServiceEnded as error:
            if not tries_left:
                raise
            log.error(f"{name} ended, starting it again", reason=str(error))  # noqa: TRY400
            await asyncio.sleep(FIRST_PAUSE_SECONDS)
    return None


async def _keep(name: str, service: Service) -> None:
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = loop.time()
        status = await service.wait()
        if loop.time() - began > STEADY_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        log.error(f"{name} ended, starting it again", status=status, in_seconds=round(pause, 1))
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        try:
            await service.start()
        except PromgresError as error:
            log.error(f"{name} does not start", reason=str(error))  # noqa: TRY400
        except Exception:  # of ours, or of a full disk: the others go on, and so do the tries
            log.exception(f"{name} does not start")
        else:
            log.info(f"{name} is back")


async def _stop(service: Service, hurry: asyncio.Event) -> None:
    hurried = asyncio.ensure_future(hurry.wait())
    stopping = asyncio.ensure_future(service.stop())
    await asyncio.wait([stopping, hurried], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await service.stop(at_once=True)
    hurried.cancel()
    await stopping

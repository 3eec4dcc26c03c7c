"""How a child of `promgres up` notices that its parent is gone, however it went.

The parent holds the only write end of a pipe whose read end its children inherit. When the parent
dies, by SIGKILL too, the kernel closes the write end, and a child reads the end of the file. This
works on Linux and macOS alike, needs no polling, and no process id that could be recycled.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Coroutine
from typing import Any

ENVIRONMENT = "PROMGRES_LIFELINE_FD"
"""Names the read end's descriptor to the child."""

GRACE_SECONDS = 5.0
"""An orphan that has not ended by itself so long after its parent is ended at once: the next parent
waits for it. What it acknowledged is committed or in the spool."""


def watch_parent(loop: asyncio.AbstractEventLoop, on_gone: Callable[[], object]) -> bool:
    """Call `on_gone`, once, in `loop`, when the parent that gave us a lifeline has died.

    Does nothing in a process without one. `on_gone` should begin an orderly end; if the process
    still lives `GRACE_SECONDS` later, it exits with status 1.

    Returns:
        Whether there is such a parent.
    """
    descriptor = inherited_lifeline()
    if descriptor is None:
        return False

    def cut() -> None:
        if os.read(descriptor, 1):  # nobody writes to it; if somebody did, the parent lives
            return
        loop.remove_reader(descriptor)
        os.close(descriptor)
        loop.call_later(GRACE_SECONDS, os._exit, 1)
        on_gone()

    loop.add_reader(descriptor, cut)
    return True


async def unless_ended(ended: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do what may take long, such as starting; give it up when we are asked to end meanwhile.

    Returns:
        Whether it is done.
    """
    working = asyncio.create_task(work)
    asked = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        asked.cancel()
        working.cancel()
        await asyncio.wait([working])


def inherited_lifeline() -> int | None:
    """The inherited descriptor, which our own children must not take for theirs; None if there is
    none. Once taken it is not given again."""
    text = os.environ.pop(ENVIRONMENT, "")
    if not text.isdecimal():
        return None
    descriptor = int(text)
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return None
    except OSError:
        return None
    os.set_inheritable(descriptor, False)
    return descriptor

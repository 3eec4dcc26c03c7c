from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from ingest.errors import OperatorError
from ingest.supervisor.locks import family_lock, parent_lock, wait_for_family
from tests.support.processes import Program

HOLDER = """
import sys, time
from pathlib import Path
from ingest.supervisor.locks import parent_lock
with parent_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
ORPHAN = """
import asyncio, os, subprocess, sys
from pathlib import Path
from ingest.supervisor.locks import family_lock, wait_for_family
with family_lock(Path(sys.argv[1])) as descriptor:
    asyncio.run(wait_for_family(descriptor))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                             pass_fds=[descriptor])
    print("child", child.pid, flush=True)
    os._exit(0)
"""


def test_a_second_parent_is_told_who_is_first(tmp_path: Path) -> None:
    with Program(sys.executable, "-c", HOLDER, tmp_path) as holder:
        holder.wait_for("held")
        with pytest.raises(OperatorError) as refusal, parent_lock(tmp_path):
            pass
        assert f"(pid {holder.pid})" in str(refusal.value)
        assert str(tmp_path) in str(refusal.value)
        holder.kill()
        with parent_lock(tmp_path):  # the kernel let go of it, whatever the file says
            pass


async def test_orphans_of_a_dead_parent_are_waited_for(tmp_path: Path) -> None:
    with Program(sys.executable, "-c", ORPHAN, tmp_path) as parent:
        orphan = int(parent.wait_for(r"child (\d+)")[1])
        with family_lock(tmp_path) as descriptor:
            waiting = asyncio.ensure_future(wait_for_family(descriptor))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
            os.kill(orphan, signal.SIGKILL)
            await asyncio.wait_for(waiting, 60)

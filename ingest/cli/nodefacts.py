"""What `promgres agent` reports about the machine it runs on."""

from __future__ import annotations

import platform
import time
from types import ModuleType
from typing import Any

from ingest.errors import OperatorError

FIRST_SECONDS = 0.2
"""How long the first report looks at the processors."""


def load_psutil() -> ModuleType:
    """The library that knows the machine.

    Raises:
        OperatorError: it is not installed.
    """
    try:
        import psutil
    except ImportError:
        raise OperatorError(
            "promgres agent needs psutil: pip install 'promgres[agent]', or psutil alone"
        ) from None
    module: ModuleType = psutil
    return module


class Node:
    """This machine, as one run of the agent sees it.

    Args:
        agent_id: of this run.
    """

    def __init__(self, psutil: ModuleType, agent_id: str) -> None:
        self._psutil = psutil
        uname = platform.uname()
        self.name = uname.node
        self._constant = {
            "agent_id": agent_id,
            "machine": uname.machine,
            "processor": uname.processor,
            "node": uname.node,
            "platform": platform.platform(),
            "system": uname.system,
            "release": uname.release,
            "version": uname.version,
        }
        self._cpu_seconds: float | None = FIRST_SECONDS

    def facts(self) -> dict[str, Any]:
        """Metadata of the event `node_data`, with the fields of the older agent."""
        psutil, cpu_seconds = self._psutil, self._cpu_seconds
        self._cpu_seconds = None  # from now on since the call before
        frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
        return {
            "time": time.time(),
            **self._constant,
            "cpu_usage": psutil.cpu_percent(cpu_seconds),
            "cpu_freq": frequency._asdict() if frequency else None,
            "loadavg": list(psutil.getloadavg()),
            "memory": psutil.virtual_memory()._asdict(),
            "swap": psutil.swap_memory()._asdict(),
        }


def measures_of(facts: dict[str, Any]) -> dict[str, float]:
    """The same as measures, for what one wants to draw: names and values."""
    return {
        "node_cpu_percent": facts["cpu_usage"],
        "node_load1": facts["loadavg"][0],
        "node_memory_percent": facts["memory"]["percent"],
        "node_memory_available_bytes": facts["memory"]["available"],
        "node_swap_percent": facts["swap"]["percent"],
    }

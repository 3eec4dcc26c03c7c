"""Freed memory stays with the process."""

import platform
import resource
import subprocess
import sys

import numpy as np
import pytest

from ingest.heap import keep_freed_memory

ROUNDS = 200
ARRAYS, NUMBERS = 8, 40_000  # of a request with 2,000 series of 20 label references each


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc knows mallopt")
def test_arrays_that_come_and_go_cost_no_page_faults() -> None:
    assert _faults("kept") * 10 < _faults("returned")


def _faults(which: str) -> int:
    """Page faults of a process of its own, so that no other test's memory matters."""
    program = [sys.executable, "-m", "tests.unit.test_heap", which]
    return int(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def _count_faults() -> int:
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(ROUNDS):
            arrays = [np.ones(NUMBERS) for _ in range(ARRAYS)]
            del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


if __name__ == "__main__":
    if sys.argv[1] == "kept":
        keep_freed_memory()
    print(_count_faults())

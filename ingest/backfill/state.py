"""How far a replay has come: a file of its own in the data directory.

A file and not a table: a replay needs an API key of some write side and nothing else, no login of
its database, which may be far away. What is written here has been acknowledged before; what was
acknowledged and is not written here yet is replayed again, and the write side knows it by series
and timestamp.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ingest.errors import OperatorError

FOLDER = "backfill"


@dataclass
class Progress:
    """What is done of a replay.

    Attributes:
        start_ms, end_ms: its period; what counts from now was counted when it first began.
        done_ms: of each group, up to which point in time every result is acknowledged.
        samples: acknowledged, in all runs together.
        rejected: samples that the write side will never take.
        reasons: why, the first of each kind.
        finished_ms: when it was all done; None while it is not.
    """

    start_ms: int
    end_ms: int
    done_ms: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    finished_ms: int | None = None


class State:
    """The file of one replay; `progress` is None before its first run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.progress: Progress | None = None
        if path.exists():
            try:
                self.progress = Progress(**json.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError) as error:
                raise OperatorError(
                    f"{path} cannot be read ({error}): remove it, or give --again, to begin anew"
                ) from None

    def save(self) -> None:
        """Replace the file, on disk when this returns.

        Raises:
            OperatorError: the disk does not take it.
        """
        assert self.progress is not None
        new = self.path.with_suffix(".new")
        try:
            with new.open("w", encoding="utf-8") as file:
                json.dump(asdict(self.progress), file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise OperatorError(f"cannot write {new}: {error.strerror}") from None


@contextmanager
def state_of(data_dir: Path, identity: str, *, again: bool = False) -> Iterator[State]:
    """The state of a replay, which is this process' alone meanwhile.

    Args:
        again: forget what an earlier run of it has done.

    Raises:
        OperatorError: another process runs this replay, or the data directory is not to be had.
    """
    folder = data_dir / FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / f"{identity}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorError(
            f"cannot keep the state of the replay in {folder}: {error.strerror}; choose another"
            " with --data-dir or PROMGRES_DATA_DIR"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OperatorError("this very replay is already running") from None
        path = folder / f"{identity}.json"
        if again:
            path.unlink(missing_ok=True)
        yield State(path)
    finally:
        os.close(lock)

"""One question to a worker, while it is answered."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from ingest.config import Settings
from ingest.prometheus.documents import JSON
from ingest.prometheus.request import Form, read_form
from ingest.promql.storage import Samples, Selection
from ingest.storage.pool import AnyConnection
from ingest.storage.read import Lane, ReadTransactions
from ingest.storage.selecting import Budget, LabelCache, find_series, select


class Interrupted(Exception):
    """The question is not wanted any more, or has had its time."""


class Question:
    """What is asked, by whom, and with what it can be answered.

    Args:
        about: `kind`, `tenant_id`, `query` (the query string), `seconds`.
        body: of a POST.

    Attributes:
        media, headers: of the answer.
        budget: samples and series that may still be read.
        series: that were read, of all selectors.
        stages: seconds that each of parse, select, fetch, evaluate, render has taken.
    """

    def __init__(
        self,
        about: Mapping[str, Any],
        body: bytes,
        settings: Settings,
        transactions: ReadTransactions,
        lane: Lane,
        labels: LabelCache,
        cancelled: threading.Event,
    ) -> None:
        self._about = about
        self.body = body
        self.settings = settings
        self.labels = labels
        self.media = JSON
        self.headers: dict[str, str] = {}
        self.now_ms = time.time_ns() // 1_000_000
        self.budget = Budget(settings.query.max_samples, settings.query.max_series)
        self._transactions = transactions
        self._lane = lane
        self._cancelled = cancelled
        self._ends = time.monotonic() + about["seconds"]
        self.series = 0
        self.stages: dict[str, float] = {}

    @property
    def name(self) -> str:
        """The part of the path that is a name: of a label."""
        return str(self._about["name"])

    @property
    def form(self) -> Form:
        """Parameters of a body that is a form, and of the query string.

        Raises:
            BadParameter: they cannot be read.
        """
        return read_form(self._about["query"], self.body)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of this block as one of parse, select, fetch, evaluate, render."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - started

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AnyConnection]:
        """A transaction that sees one moment of the tenant's data."""
        settings = {"promgres.tenant_id": str(self._about["tenant_id"])}
        left = max(1, math.ceil(self._ends - time.monotonic()))
        async with self._transactions.transaction(
            self._lane, settings, seconds=left, more_seconds=left
        ) as connection:
            yield connection

    async def select(
        self, connection: AnyConnection, selection: Selection, with_starts: bool = False
    ) -> Samples:
        """What a selector needs.

        Raises:
            PromqlLimit: of series, or of samples.
        """
        with self.stage("select"):
            found = await find_series(connection, selection.matchers, self.budget, self.labels)
        with self.stage("fetch"):
            samples = await select(connection, found, selection, self.budget, with_starts)
        self.series += len(samples.labels)
        return samples

    def check(self) -> None:
        """Go on, if the question is still wanted; asked between the steps of an evaluation.

        Raises:
            Interrupted: it is not.
        """
        if self._cancelled.is_set() or time.monotonic() > self._ends:
            raise Interrupted

    def about(self) -> dict[str, Any]:
        """What is counted of it."""
        samples = self.budget.most_samples - self.budget.left
        return {"stages": self.stages, "samples": samples, "headers": self.headers}

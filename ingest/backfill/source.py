"""The data source: Prometheus' HTTP API, asked for one rule over one window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
import msgspec

from ingest.backfill.patience import Patience
from ingest.backfill.plan import Window, shown_url
from ingest.backfill.rules import Rule
from ingest.errors import OperatorError, PromgresError
from ingest.text import on_one_line
from ingest.wire.remote_write.encode import Run

ANSWER_BYTES = 64 * 1024 * 1024
"""A longer answer is asked for again in halves."""
QUERY_SECONDS = 150
"""Prometheus gives up after 120 s."""


class _Series(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = msgspec.field(default_factory=list)
    histograms: list[msgspec.Raw] = msgspec.field(default_factory=list)


class _Data(msgspec.Struct):
    result: list[_Series]


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""
    errorType: str = ""
    isPartial: bool = False


_DECODER = msgspec.json.Decoder(_Answer)


class TooMuch(PromgresError):
    """A window is more than the data source computes, or more than we take, at once."""


@dataclass(frozen=True)
class DataSource:
    """Where the past is.

    Attributes:
        url: before `/api/v1/query_range`; a user and a password in it are sent as such.
    """

    session: aiohttp.ClientSession
    url: str
    headers: Mapping[str, str]

    async def check(self) -> None:
        """Ask the smallest question there is.

        Raises:
            OperatorError: nobody answers, or not as Prometheus does.
        """
        try:
            status, answer = await self._ask({"query": "vector(1)"}, "query")
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            reason = on_one_line(error)
            raise OperatorError(f"--datasource {shown_url(self.url)}: {reason}") from None
        if status != 200:
            raise OperatorError(f"--datasource {shown_url(self.url)}: {status} {answer.error}")

    async def evaluate(self, rule: Rule, window: Window) -> list[Run]:
        """What a rule gives at every step of a window, as it would have been recorded.

        Raises:
            OperatorError: the rule is at fault, in one line that names it.
            TooMuch: the window should be asked for in halves.
            GaveUp: the data source has not answered for long.
        """
        group = window.group
        form = {
            **dict(group.params),
            "query": rule.expr,
            "start": f"{window.start_ms / 1000:.3f}",
            "end": f"{window.last_ms / 1000:.3f}",
            "step": f"{group.step_ms / 1000:.3f}",
        }
        patience = Patience(f"{shown_url(self.url)} does not answer")
        while True:
            try:
                status, answer = await self._ask(form, "query_range")
            except msgspec.DecodeError as error:
                raise OperatorError(f"{rule.place}: not an answer of Prometheus: {error}") from None
            except (aiohttp.ClientError, TimeoutError) as error:
                await patience.wait(on_one_line(error))
                continue
            if status == 200 and answer.data and not answer.isPartial:
                return recorded(rule, window, answer.data.result)
            reason = " ".join(answer.error.split()) or f"status {status}"
            if is_too_much(status, answer.errorType, reason):
                raise TooMuch(f"{rule.place}: {reason}")
            if 400 <= status < 500 and status != 429:
                raise OperatorError(f"{rule.place}: the data source says: {reason}")
            await patience.wait("a partial answer" if answer.isPartial else reason)

    async def _ask(self, form: Mapping[str, str], path: str) -> tuple[int, _Answer]:
        """Raises aiohttp.ClientError, TimeoutError: no answer. msgspec.DecodeError: a strange one.
        TooMuch: a long one."""
        async with self.session.post(
            f"{self.url.rstrip('/')}/api/v1/{path}", data=form, headers=self.headers
        ) as response:
            body = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                body += piece
                if len(body) > ANSWER_BYTES:
                    raise TooMuch(f"an answer of more than {ANSWER_BYTES} bytes")
        try:
            return response.status, _DECODER.decode(body)
        except msgspec.DecodeError:
            if response.status == 200:
                raise
            text = bytes(body[:300]).decode(errors="replace")
            return response.status, _Answer("error", error=f"{response.status} {text}")


def is_too_much(status: int, kind: str, reason: str) -> bool:
    """Whether the same question about less would be answered: Prometheus says 422 when too many
    samples would be loaded, and 503 or 422 when it takes too long; others have their own words."""
    words = ("too many", "exceed", "timeout", "timed out", "maximum resolution", "too large")
    return status in (400, 413, 422, 503) and (
        kind == "timeout" or any(word in reason.lower() for word in words)
    )


def recorded(rule: Rule, window: Window, found: Sequence[_Series]) -> list[Run]:
    """Results with the name and the labels of the rule; series without a value are left out.

    Raises:
        OperatorError: two series would become one, there are more than the group's limit, or they
            are native histograms.
    """
    if window.group.limit and len(found) > window.group.limit:
        raise OperatorError(
            f"{rule.place}: {len(found)} series, more than the group's limit {window.group.limit}"
        )
    runs: dict[tuple[tuple[str, str], ...], Run] = {}
    for series in found:
        if series.histograms:
            raise OperatorError(f"{rule.place}: it gives native histograms, which no replay writes")
        labels = {**series.metric, **rule.labels, "__name__": rule.record}
        labels = {name: value for name, value in labels.items() if value}
        key = tuple(sorted(labels.items()))
        if key in runs:
            raise OperatorError(f"{rule.place}: two of its series would have the labels {labels}")
        runs[key] = Run(
            labels,
            [round(seconds * 1000) for seconds, _ in series.values],
            [float(value) for _, value in series.values],
        )
    return [run for run in runs.values() if run.values]


def samples_in(runs: Sequence[Run]) -> int:
    """How many samples."""
    return sum(len(run.values) for run in runs)

"""What becomes of a batch: sent, and sent again, until nothing of it is left to be done.

Sending again is harmless: every item has its idempotency key and its time since it was recorded,
so the server stores it once, whether or not an earlier answer got lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

from promgres_client import losses
from promgres_client.backoff import Backoff
from promgres_client.buffer import Item
from promgres_client.errors import Unreachable
from promgres_client.exchange import Answer, Exchange
from promgres_client.items import EVENT, MEASURE

PATHS = {MEASURE: "/api/v1/measure", EVENT: "/api/v1/event"}
_TOO_LARGE = 413
_PASSING = frozenset({408, 425, 429})
"""Of the answers 4xx, those that another try may change."""
_ABOUT_THE_KEY = frozenset({401, 403})
_KEY_SECONDS = 5.0
"""Between tries with a key that was good once: whoever mends that takes minutes."""


class Refusal(NamedTuple):
    """An item that the server refused.

    Attributes:
        item: its JSON text, as it was sent.
        reason: the server's words.
        origin: what its recorder gave with it.
    """

    item: str
    reason: str
    origin: object


class Outcome(NamedTuple):
    """Whom to tell what became of items.

    Attributes:
        was_admitted: whether the server has acknowledged anything yet: then the key was good, and
            somebody will make it good again, or give another one its rights.
    """

    was_admitted: Callable[[], bool]
    acknowledged: Callable[[int], None]
    delayed: Callable[[str], None]
    lost: Callable[[str, int, str], None]
    refused: Callable[[Refusal], None]


class Courier:
    """Delivers batches over one connection, one at a time.

    Args:
        retry_seconds: how long a batch is tried; None: as long as it takes.
        stop: set when there is no time left.
    """

    def __init__(
        self,
        exchange: Exchange,
        outcome: Outcome,
        retry_seconds: float | None,
        stop: threading.Event,
    ) -> None:
        self._exchange = exchange
        self._outcome = outcome
        self._retry_seconds = retry_seconds
        self._stop = stop

    def deliver(self, items: list[Item]) -> None:
        """Send items until each is acknowledged, refused or given up."""
        while items:
            answer = self._answer(items)
            if answer is None:
                return
            items = self._settle(items, answer)

    def _settle(self, items: list[Item], answer: Answer) -> list[Item]:
        """Tell whom it concerns what an answer means; the items that are still to be sent."""
        if 200 <= answer.status < 300:
            self._outcome.acknowledged(len(items))
            return []
        if answer.status == _TOO_LARGE and len(items) > 1:
            middle = len(items) // 2
            self.deliver(items[:middle])
            return items[middle:]
        named = _named(answer, len(items))
        if not named:
            self._refuse_unnamed(items, answer)
            return []
        for position, reason in named.items():
            self._refuse([items[position]], f"{answer.status}: {reason}")
        return [item for position, item in enumerate(items) if position not in named]

    def _answer(self, items: list[Item]) -> Answer | None:
        """The first answer that another try would not change; None if there was none in time."""
        path, body = request_of(items)
        backoff, started = Backoff(), time.monotonic()
        while True:
            asked_seconds = 0.0
            try:
                answer = self._exchange.post(path, body)
            except Unreachable as error:
                trouble = str(error)
            else:
                if self._is_final(answer.status):
                    return answer
                trouble = f"{answer.status}: {_first_reason(answer)}"
                asked_seconds = answer.retry_after_seconds()
                if answer.status in _ABOUT_THE_KEY:
                    asked_seconds = max(asked_seconds, _KEY_SECONDS)
            if not self._may_retry(started, backoff.next_seconds(asked_seconds), trouble, items):
                return None

    def _is_final(self, status: int) -> bool:
        if status in _ABOUT_THE_KEY:
            return not self._outcome.was_admitted()
        return status < 500 and status not in _PASSING

    def _may_retry(
        self, started: float, wait_seconds: float, trouble: str, items: list[Item]
    ) -> bool:
        patience = self._retry_seconds
        if patience is not None and time.monotonic() + wait_seconds - started > patience:
            self._outcome.lost(losses.GIVEN_UP, len(items), trouble)
            return False
        self._outcome.delayed(trouble)
        if self._stop.wait(wait_seconds):
            self._outcome.lost(losses.CLOSED, len(items), trouble)
            return False
        return True

    def _refuse_unnamed(self, items: list[Item], answer: Answer) -> None:
        """All of it, unless the answer says that some are stored: it cannot say which."""
        reason = f"{answer.status}: {_first_reason(answer)}"
        document = answer.document()
        stored = document.get("stored") if isinstance(document, dict) else 0
        if type(stored) is int and 0 < stored <= len(items):
            self._outcome.acknowledged(stored)
            self._outcome.lost(losses.REFUSED, len(items) - stored, reason)
        else:
            self._refuse(items, reason)

    def _refuse(self, items: Sequence[Item], reason: str) -> None:
        self._outcome.lost(losses.REFUSED, len(items), reason)
        for item in items:
            self._outcome.refused(Refusal(item.text, reason, item.origin))


def request_of(items: Sequence[Item]) -> tuple[str, bytes]:
    """Path and body of a request: an array, and where kinds mix, each item with its kind."""
    kinds = {item[0] for item in items}
    if len(kinds) == 1:
        return PATHS[kinds.pop()], f"[{','.join([item[1] for item in items])}]".encode("ascii")
    mixed = ",".join([f'{{"{item[0]}":{item[1]}}}' for item in items])
    return PATHS[MEASURE], f"[{mixed}]".encode("ascii")


def _named(answer: Answer, count: int) -> dict[int, str]:
    """The items that a 400 names, by position, with the reasons."""
    return {
        error["item"]: str(error.get("reason", "no reason given"))
        for error in (_errors(answer) if answer.status == 400 else ())
        if type(error.get("item")) is int and 0 <= error["item"] < count
    }


def _first_reason(answer: Answer) -> str:
    reasons = [str(error["reason"]) for error in _errors(answer) if "reason" in error]
    return reasons[0] if reasons else answer.reason


def _errors(answer: Answer) -> list[dict[str, Any]]:
    document = answer.document()
    errors = document.get("errors") if isinstance(document, dict) else None
    return [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []

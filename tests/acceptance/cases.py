"""A table of remote write: what is sent, what must be answered, and what must be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from tests.acceptance.stored import Stored, expected, stored
from tests.support.answer import Answer
from tests.support.databases import Database
from tests.support.messages import HEADERS_V2, Sent, counts, encode
from tests.support.remote_write import HEADERS as HEADERS_V1
from tests.support.remote_write import WriteSide, send, snappy

VERSIONS = (1, 2)
HEADERS: Mapping[int, Mapping[str, str]] = {1: HEADERS_V1, 2: HEADERS_V2}
WRITTEN = [
    f"X-Prometheus-Remote-Write-{kind}-Written" for kind in ("Samples", "Histograms", "Exemplars")
]
NOTHING = (0, 0, 0)

Written = tuple[int, int, int]
_numbers = count(1)


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        sentence: of a specification, or as short as it can be said; the name of the test.
        sent: the series of the request.
        status: of the answer.
        written: of the answer's headers; None: everything, or with 400 nothing.
        reason: some words of a 400.
        stored: what is stored, if it is not all that was sent (with 400: nothing).
    """

    sentence: str
    sent: Sequence[Sent]
    status: int = 204
    written: Written | None = None
    reason: str = ""
    stored: Sequence[Sent] | None = None

    def expected_written(self) -> Written:
        """The three counts of the answer."""
        if self.written is not None:
            return self.written
        return counts(self.sent) if self.status == 204 else NOTHING

    def expected_rows(self, own: str) -> Stored:
        """What must be in the database afterwards."""
        kept = self.stored
        if kept is None:
            kept = self.sent if self.status == 204 else []
        return expected([one.named(own) for one in kept])


def own_name() -> str:
    """A name that no other case has a part of."""
    return f"own{next(_numbers)}x"


def ids(cases: Sequence[Case]) -> list[str]:
    """The sentences, for pytest."""
    sentences = [case.sentence for case in cases]
    assert len(set(sentences)) == len(sentences)
    return sentences


def body_of(case: Case, version: int, own: str) -> bytes:
    """The compressed body."""
    return snappy(encode(version, [one.named(own) for one in case.sent]))


def post(side: WriteSide, version: int, body: bytes) -> Answer:
    """Send a compressed body with the headers of its version."""
    return send(side.url, body, HEADERS[version])


async def check(case: Case, version: int, side: WriteSide, database: Database) -> None:
    """Send it, look at the answer, read back what is stored."""
    own = own_name()
    answer = post(side, version, body_of(case, version, own))
    assert_answer(answer, version, case.status, case.expected_written(), case.reason)
    rows, wanted = await stored(database, own), case.expected_rows(own)
    assert rows == wanted, f"stored:\n{rows}\nexpected:\n{wanted}"


def assert_answer(
    answer: Answer, version: int, status: int, written: Written, reason: str = ""
) -> None:
    """Status, headers and body are exactly as they have to be."""
    assert answer.status == status, answer.text
    assert written_of(answer) == (written if version == 2 else None), answer
    if status == 204:
        assert answer.text == ""
    else:
        assert reason in answer.text
        assert answer.text.isprintable() or "\n" in answer.text
    assert len(answer.text) <= 4000


def written_of(answer: Answer) -> Written | None:
    """The three counts; None if there is none of them."""
    values = [answer.headers.get(name) for name in WRITTEN]
    if values == [None] * 3:
        return None
    samples, histograms, exemplars = [int(value or "missing") for value in values]
    return samples, histograms, exemplars

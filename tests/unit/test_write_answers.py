"""What a sender reads when something of its request was refused."""

from __future__ import annotations

from ingest.model import Counts, Rejection
from ingest.remote_write.answers import rejected


def text(*rejections: Rejection, sent: Counts) -> str:
    body = rejected(rejections, sent).body
    assert body is not None
    return body.decode()


def test_samples_are_counted() -> None:
    answer = text(Rejection("bad", samples=2), sent=Counts(samples=5, exemplars=1))
    assert answer == "2 of 5 samples refused, the others are stored:\nbad\n"


def test_of_a_request_without_any_sample_none_are_counted() -> None:
    """Metadata, or series that carry nothing: there are no samples of which some are stored."""
    answer = text(Rejection("metadata: bad"), sent=Counts())
    assert answer == "series without samples, or metadata, refused:\nmetadata: bad\n"
    assert "0 of 0" not in answer

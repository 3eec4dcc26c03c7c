"""Query strings, read strictly."""

from __future__ import annotations

from urllib.parse import parse_qsl


def query_pairs(query: str, most: int) -> list[tuple[str, str]]:
    """Names and values in their order.

    Raises:
        ValueError: no UTF-8, or more than `most` of them.
    """
    query.encode()  # bytes that were no UTF-8 are surrogates here
    return parse_qsl(
        query, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=most
    )

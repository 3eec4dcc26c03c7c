"""Query strings and JSON of strangers, read strictly."""

from __future__ import annotations

import json
from typing import Any, NoReturn
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


def parse_json(text: str) -> Any:
    """A document, with numbers left as text: as they were written, and of any length.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")

"""Label sets as people write them: `up{job="x"}`, `{__name__="up"}`, `{"a.metric", "a b"="c"}`."""

from __future__ import annotations

import json
import re

from ingest.errors import OperatorError

_WHOLE = re.compile(r"\s*([^\s{}\"=,]*)\s*\{(.*)\}\s*", re.DOTALL)
_STRING = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(
    rf"\s*(?:(?P<name>[^\s{{}}\"=,]+|{_STRING})\s*=\s*(?P<value>{_STRING})|(?P<metric>{_STRING}))"
    r"\s*(?:,|$)",
    re.DOTALL,
)


def parse_labels(text: str) -> list[tuple[bytes, bytes]]:
    """Label pairs in the order written; a metric name before the brace comes first.

    Raises:
        OperatorError: `text` is not a label set; the message points at what is not understood.
    """
    whole = _WHOLE.fullmatch(text) or re.fullmatch(r"\s*([^\s{}\"=,]+)\s*()", text)
    if whole is None:
        raise OperatorError(f'{text!r} is not a label set; try {{__name__="up",job="node"}}')
    metric, inside = whole.groups()
    pairs = [("__name__", metric)] if metric else []
    at = 0
    while inside[at:].strip():
        found = _PAIR.match(inside, at)
        if found is None:
            raise OperatorError(f'not understood: {inside[at:].strip()!r}; labels are name="value"')
        pairs.append(_pair(found))
        at = found.end()
    return [(_bytes(name), _bytes(value)) for name, value in pairs]


def _pair(found: re.Match[str]) -> tuple[str, str]:
    if found["metric"]:
        return "__name__", _unquoted(found["metric"])
    name: str = found["name"]
    return (_unquoted(name) if name.startswith('"') else name), _unquoted(found["value"])


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        raise OperatorError(f"{text} has an escape that is not understood") from None


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")

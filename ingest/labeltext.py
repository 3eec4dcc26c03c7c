"""Label sets and selectors as people, PromQL and promtool write them: `up{job="x"}`,
`{__name__="up"}`, `{"a.metric", "a b"="c"}`, `up{job=~"x.*"}`."""

from __future__ import annotations

import json
import re

from ingest.errors import OperatorError

_WHOLE = re.compile(r"\s*([^\s{}\"=,]*)\s*\{(.*)\}\s*", re.DOTALL)
_STRING = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(
    rf"\s*(?:(?P<name>[^\s{{}}\"=~!,]+|{_STRING})\s*(?P<operator>=~|!~|!=|=)\s*(?P<value>{_STRING})"
    rf"|(?P<metric>{_STRING}))"
    r"\s*(?:,|$)",
    re.DOTALL,
)


_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED = dict(zip(b"abfnrtv\\\"'", b"\a\b\f\n\r\t\v\\\"'", strict=True))
"""What one letter behind a backslash stands for, in Go as in PromQL."""


def parse_labels(text: str) -> list[tuple[bytes, bytes]]:
    """Label pairs in the order written; a metric name before the brace comes first.

    Raises:
        OperatorError: `text` is not a label set; the message points at what is not understood.
    """
    pairs = []
    for name, operator, value in parse_selector(text):
        if operator != "=":
            raise OperatorError(f'not understood: {operator}; labels are name="value"')
        pairs.append((name, value))
    return pairs


def parse_selector(text: str) -> list[tuple[bytes, str, bytes]]:
    """Conditions on labels, each a name, an operator (`=`, `!=`, `=~`, `!~`) and a value.

    Raises:
        OperatorError: `text` is no selector; the message points at what is not understood.
    """
    whole = _WHOLE.fullmatch(text) or re.fullmatch(r"\s*([^\s{}\"=,]+)\s*()", text)
    if whole is None:
        raise OperatorError(f'{text!r} is not a label set; try {{__name__="up",job="node"}}')
    metric, inside = whole.groups()
    found = [(b"__name__", "=", _bytes(metric))] if metric else []
    at = 0
    while inside[at:].strip():
        pair = _PAIR.match(inside, at)
        if pair is None:
            raise OperatorError(f'not understood: {inside[at:].strip()!r}; labels are name="value"')
        if pair["metric"]:
            found.append((b"__name__", "=", _unquoted(pair["metric"])))
        else:
            name: str = pair["name"]
            is_quoted = name.startswith('"')
            bare = _unquoted(name) if is_quoted else _bytes(name)
            found.append((bare, pair["operator"], _unquoted(pair["value"])))
        at = pair.end()
    return found


def _unquoted(text: str) -> bytes:
    """A string in double quotes: JSON's escapes, and Go's, which promtool writes."""
    try:
        return _bytes(str(json.loads(text, strict=False)))
    except ValueError:
        pass

    def unescape(found: re.Match[bytes]) -> bytes:
        byte, short, long, letter = found.groups()
        if byte is not None:
            return bytes.fromhex(byte.decode())
        if letter is None:
            return chr(int(short or long, 16)).encode()
        if letter[0] not in _ESCAPED:
            raise ValueError
        return bytes([_ESCAPED[letter[0]]])

    try:
        return _ESCAPE.sub(unescape, _bytes(text[1:-1]))
    except ValueError:
        raise OperatorError(f"{text} has an escape that is not understood") from None


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")

"""Numbers and strings as Go prints them: Prometheus' messages and labels are made of them."""

from __future__ import annotations

import math
from decimal import Decimal

_EXPONENT_FROM = 6


def number_text(value: float) -> str:
    """The shortest decimal without an exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def go_g(value: float) -> str:
    """A float as Go's `%g` writes it: the fewest digits that tell it from its neighbours, with an
    exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) - 1 + int(exponent) if value else 0
    minus = "-" if sign else ""
    if power < -4 or power >= _EXPONENT_FROM:
        tail = f".{text[1:]}" if len(text) > 1 else ""
        return f"{minus}{text[0]}{tail}e{'-' if power < 0 else '+'}{abs(power):02d}"
    if power < 0:
        return minus + "0." + "0" * (-power - 1) + text
    rest = text[power + 1 :]
    return minus + text[: power + 1].ljust(power + 1, "0") + (f".{rest}" if rest else "")


def go_quote(text: str, mark: str = '"') -> str:
    """`text` between quotes with the escapes of Go's `%q`; lone bytes as `\\xNN`."""
    simple = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    simple |= {"\v": "\\v", "\\": "\\\\", mark: "\\" + mark}
    return mark + "".join(simple.get(c) or _shown(c) for c in text) + mark


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as "surrogateescape" keeps it
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def open_metrics_number(value: float) -> str:
    """As the label of a quantile: `0.5`, but `1.0`."""
    text = go_g(value)
    return text if any(c in text for c in "e.Na") or "Inf" in text else text + ".0"


def printable(text: str) -> str:
    """Text of a query in a message: bytes that are no UTF-8 are replaced."""
    return text.encode(errors="surrogateescape").decode(errors="replace")

"""Sizes and times as people say them."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEPS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def size(number_bytes: float) -> str:
    """Bytes with three digits or so: `512 B`, `1.5 GiB`."""
    amount = float(number_bytes)
    for unit in _UNITS:
        if abs(amount) < 1024 or unit == _UNITS[-1]:
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def span(seconds: float) -> str:
    """A length of time in its two largest units: `45 s`, `3 min 5 s`, `2 d 4 h`."""
    whole = round(abs(seconds))
    for length, unit, smaller, rest in _STEPS:
        if whole >= length:
            larger, left = divmod(whole, length)
            return f"{larger} {unit}" + (f" {left // smaller} {rest}" if left >= smaller else "")
    return f"{whole} s"


def count(number: int, one: str, many: str = "") -> str:
    """`1 sample`, `2,000 samples`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"

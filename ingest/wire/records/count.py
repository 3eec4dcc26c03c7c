"""How many items a push has, before any of them is made: from its brackets alone, with numpy."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import numpy.typing as npt

_PIECE_BYTES = 256 * 1024
_QUOTE, _BACKSLASH = b'"'[0], b"\\"[0]
_DEEPER = np.zeros(256, np.int8)
_DEEPER[list(b"[{")] = 1
_DEEPER[list(b"]}")] = -1


def count_items(body: bytes, most: int) -> Generator[None, None, int]:
    """How many objects a body has at its top, or in the array that it is, counted a little further
    than `most`, with a pause after each piece. Of what is not valid JSON, some number.
    """
    top = 1 if body.lstrip()[:1] == b"[" else 0
    raw = np.frombuffer(body, np.uint8)
    count = depth = 0
    in_string = is_escaped = False
    for start in range(0, len(raw), _PIECE_BYTES):
        piece = raw[start : start + _PIECE_BYTES]
        quotes, is_escaped = _ends_of_strings(piece, is_escaped)
        inside = (np.cumsum(quotes, dtype=np.int32) + in_string) % 2 == 1
        in_string = bool(inside[-1])
        steps = _DEEPER[piece]
        steps[inside] = 0
        depths = np.cumsum(steps, dtype=np.int32) + depth
        depth = int(depths[-1])
        count += int(np.count_nonzero((piece == b"{"[0]) & (steps == 1) & (depths == top + 1)))
        if count > most:
            break
        yield
    return count


def _ends_of_strings(
    piece: npt.NDArray[np.uint8], is_escaped: bool
) -> tuple[npt.NDArray[np.bool_], bool]:
    """Quotes that begin or end a string, and whether the byte behind the piece is escaped: a
    backslash escapes what follows, unless it is escaped itself."""
    quotes = piece == _QUOTE
    slashes = piece == _BACKSLASH
    if not is_escaped and not slashes.any():
        return quotes, False
    places = np.arange(len(piece))
    last_other = np.maximum.accumulate(np.where(slashes, -1, places))
    run = places - last_other  # backslashes up to here, this one included
    run[last_other < 0] += is_escaped
    before = np.concatenate([[int(is_escaped)], run[:-1]])
    return quotes & (before % 2 == 0), bool(run[-1] % 2)

"""Places of series by the keys of their encoded labels: all of a request looked up at once.

A dict takes four misses of the processor's cache for a look-up where there are many series (index,
entry, key, number), 131 bytes an entry, and a bytes object for each key that is looked for. Here
two arrays are read, each in one line of the cache and all series of a request side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress, repeat
from struct import Struct

import numpy as np
import numpy.typing as npt

from ingest.model import Int64s, Place

UNKNOWN = Place(-1)
"""The place of a series that is not known."""

SLOTS = 4
"""Of a bucket: 32 bytes of first halves."""
FEWEST_BESIDE = 256
_SHARE_BESIDE = 32
MOST_BESIDE_PART = 16
"""Of the keys of a request this part at most is found beside, unless it found no slot."""
_KEY_BYTES = 16
_ENTRY_BYTES_BESIDE = 131
"""Measured: a key of 16 bytes, an int, their dict slot at mean load."""
_halves = Struct("=qq").unpack


class KeyTable:
    """Places by keys of 16 bytes, which are hashes: whatever bits of them are spread evenly.

    The lowest bits of a key's first half tell its bucket, which has four slots; half of all slots
    are taken at most, then there are twice as many. What came last, and what finds its bucket full
    (4 % of the keys where half of the slots are taken), stands in a dict beside. Of two keys with
    one first half, as good as excluded among hashes, one may be taken for unknown, and is learned
    again each time.

    When it is full, what stands in the next few buckets goes: a hand goes round. Keys are spread
    evenly, so that is as good as any; a dead series leaves by itself in time, and of one that is
    alive the key is learned again. An entry is never changed to mean another series.

    Args:
        most: entries.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.clear()

    def __len__(self) -> int:
        return self._settled + len(self._beside)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays = self._first.nbytes + self._rest.nbytes if self._settled else 0
        return arrays + _ENTRY_BYTES_BESIDE * len(self._beside)

    def find(self, keys: Int64s) -> Int64s:
        """The place of each key, or UNKNOWN.

        Args:
            keys: shape (keys, 2).
        """
        places = self._find_settled(keys)
        if self._beside:
            missing = (places == UNKNOWN).nonzero()[0]
            if len(missing):
                raw = np.ascontiguousarray(keys[missing]).view(f"V{_KEY_BYTES}").ravel().tolist()
                found = map(self._beside.get, raw, repeat(UNKNOWN))
                places[missing] = np.fromiter(found, np.int64, len(raw))
                beside = np.count_nonzero(places[missing] != UNKNOWN)
                if self._waiting and beside * MOST_BESIDE_PART > len(keys):
                    self._settle()
        return places

    def get(self, key: bytes) -> Place:
        """The place of one key, or UNKNOWN."""
        place = self._beside.get(key)
        if place is not None:
            return place
        first, second = _halves(key)
        bucket = first & (len(self._first) - 1)
        firsts = self._first[bucket].tolist()
        if first in firsts:
            rest, settled = self._rest[SLOTS * bucket + firsts.index(first)].tolist()
            if rest == second:
                return Place(settled)
        return UNKNOWN

    def put(self, key: bytes, place: Place) -> None:
        """Know the place of a key."""
        if len(self) >= self._most and key not in self._beside:
            self._make_room()
        self._beside[key] = place
        self._waiting += 1
        if self._waiting >= max(FEWEST_BESIDE, self._settled // _SHARE_BESIDE):
            self._settle()

    def drop(self, is_gone: Callable[[Int64s], npt.NDArray[np.bool_]]) -> None:
        """Forget the places of which this holds."""
        places = self._rest[:, 1]
        taken = (places != UNKNOWN).nonzero()[0]
        taken = taken[is_gone(places[taken])]
        places[taken] = UNKNOWN
        self._settled -= len(taken)
        beside = np.fromiter(self._beside.values(), np.int64, len(self._beside))
        for key in compress([*self._beside], is_gone(beside).tolist()):
            del self._beside[key]

    def clear(self) -> None:
        """Forget everything."""
        self._beside: dict[bytes, Place] = {}
        self._waiting = self._settled = self._hand = 0
        self._first = np.zeros((1, SLOTS), np.int64)  # halves of keys, shape (buckets, 4)
        self._rest = np.full((SLOTS, 2), UNKNOWN)  # the other half and the place, shape (slots, 2)

    def _find_settled(self, keys: Int64s) -> Int64s:
        first = keys[:, 0]
        bucket = first & (len(self._first) - 1)
        slot = (self._first.take(bucket, axis=0) == first[:, None]).argmax(axis=1)
        slot += bucket * SLOTS
        rest = self._rest.take(slot, axis=0)
        is_found = (rest[:, 0] == keys[:, 1]) & (self._first.ravel().take(slot) == first)
        return np.where(is_found, rest[:, 1], UNKNOWN)

    def _settle(self) -> None:
        """Move what stands beside into free slots, as far as there are."""
        names = [*self._beside]
        keys = np.frombuffer(b"".join(names), np.int64).reshape(-1, 2)
        places = np.fromiter(self._beside.values(), np.int64, len(keys))
        while 2 * len(self) > len(self._rest):
            self._double()
        slots, left = self._first.ravel(), np.flatnonzero(self._find_settled(keys) == UNKNOWN)
        for number in range(SLOTS):
            slot = (keys[left, 0] & (len(self._first) - 1)) * SLOTS + number
            is_free = self._rest[slot, 1] == UNKNOWN
            slot, asking = slot[is_free], left[is_free]
            self._rest[slot, 1] = asking  # one of those that ask for the same slot
            has_it = self._rest[slot, 1] == asking
            slot, having = slot[has_it], asking[has_it]
            slots[slot], self._rest[slot, 0] = keys[having, 0], keys[having, 1]
            self._rest[slot, 1] = places[having]
            self._settled += len(having)
            left = np.setdiff1d(left, having, assume_unique=True)
        self._beside = {names[each]: self._beside[names[each]] for each in left.tolist()}
        self._waiting = 0

    def _double(self) -> None:
        """Twice as many buckets: one more bit of a key tells whether it stays in its bucket or
        stands in the new one, in the same slot."""
        is_high = (self._first & len(self._first) != 0).ravel()
        low, high = self._rest, self._rest.copy()
        low[is_high, 1] = UNKNOWN
        high[~is_high, 1] = UNKNOWN
        self._first = np.concatenate([self._first, self._first])
        self._rest = np.concatenate([low, high])

    def _make_room(self) -> None:
        """Forget what came first of what stands beside, if that is all, or else what stands in the
        next buckets that hold something."""
        if not self._settled:
            del self._beside[next(iter(self._beside))]
            return
        gone = 0
        while not gone:
            step = max(1, len(self._first) // 1024)
            places = self._rest[self._hand * SLOTS : (self._hand + step) * SLOTS, 1]
            gone = int(np.count_nonzero(places != UNKNOWN))
            places[:] = UNKNOWN
            self._settled -= gone
            self._hand = (self._hand + step) % len(self._first)

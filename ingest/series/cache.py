"""Which series have which id: bounded memory, and only what a committed transaction vouches for.

Keys are hashes of 16 bytes, not the labels' bytes themselves: of series with 356 B of labels that
takes 133 B instead of 485 B an entry in a dict, some 70 B in the table of keys (`make bench`). When
it is full and series keep coming, dicts are rebuilt now and then: some 40 ms in every 350,000 new
series.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from itertools import compress

import numpy as np
import numpy.typing as npt

from ingest.model import Int64s, Item, Place, Series, SeriesId
from ingest.series.key_table import UNKNOWN, KeyTable
from ingest.series.marks import Marks
from ingest.series.stamps import Stamps
from ingest.stores import ITEM_STORES, TARGETS

DROPPED = Place(-2)
"""The place of a series that a routing rule drops."""

_STORED = Place(0)
"""Of an item, of which only that matters."""
_TARGET_BITS = 2
_TARGET_MASK = (1 << _TARGET_BITS) - 1
MOST_GENERATIONS = 100
"""Of which is known what ended: requests of older ones are decoded again."""
MOST_METADATA = 100_000
"""Metadata known to be stored; what is beyond is stored again, which changes nothing."""
_ENTRY_BYTES = 131
"""Measured: a key of 16 bytes, an int, their dict slot at mean load, and 8 in the queue."""


def place_of(target: str, series_id: SeriesId) -> Place:
    """Target and id as one number (ids below 2**61)."""
    return Place(series_id << _TARGET_BITS | TARGETS.index(target))


def series_id_of(place: Place) -> SeriesId:
    """Id of a known place."""
    return SeriesId(place >> _TARGET_BITS)


def target_number(place: Place) -> int:
    """Position in TARGETS of a known place."""
    return place & _TARGET_MASK


def target_numbers(places: Int64s) -> Int64s:
    """Positions in TARGETS of known places."""
    return places & _TARGET_MASK


def series_ids(places: Int64s) -> Int64s:
    """Ids of known places."""
    return places >> _TARGET_BITS


class SeriesCache:
    """Places of series, by identity and by the key of their encoded labels.

    When it is full the entry that came first goes, or of keys some few (`KeyTable`); if its series
    is still alive it is asked for again. A dead series so leaves by itself, nothing is scanned, and
    a wrong id is never returned: an entry is never changed to mean another series. Not locked: for
    one thread.

    Args:
        max_series: bound of each of the two tables.

    Attributes:
        generation: how often something was forgotten because it no longer holds; of ids of an
            earlier generation, see `ended_since`.
        stamps: which samples are stored; forgotten with the ids of their series, and without.
        marks: of which metrics and minutes late samples are marked.
    """

    def __init__(self, max_series: int) -> None:
        self.generation = 0
        self.stamps = Stamps(max_series)
        self.marks = Marks(max_series)
        self._ended: dict[int, frozenset[SeriesId]] = {}
        self._by_identity = _Table(max_series)
        self._by_key = KeyTable(max_series)
        self._stored_items = {
            "metadata": _Table(min(max_series, MOST_METADATA)),
            "start": _Table(max_series),
        }

    def __len__(self) -> int:
        """Series whose id is known."""
        return len(self._by_identity.places)

    @property
    def approximate_bytes(self) -> int:
        """Memory that the entries take."""
        tables = (self._by_identity, *self._stored_items.values())
        entries = sum(len(table.places) for table in tables)
        beside = self.stamps.approximate_bytes + self.marks.approximate_bytes
        return _ENTRY_BYTES * entries + self._by_key.nbytes + beside

    def remember(self, series: Series, series_id: SeriesId) -> None:
        """Know the id of a series. Only after the transaction that created it has committed."""
        self._by_identity.put(series.identity, place_of(series.target, series_id))

    def id_of(self, identity: bytes) -> SeriesId | None:
        """The id of a series, None if it is not known here."""
        place = self._by_identity.places.get(identity, UNKNOWN)
        return None if place < 0 else series_id_of(place)

    def place_by_key(self, key: bytes) -> Place:
        """The place of a series by the key of its encoded labels, or DROPPED, or UNKNOWN."""
        return self._by_key.get(key)

    def places_by_key(self, keys: Int64s) -> Int64s:
        """`place_by_key` of many keys at once.

        Args:
            keys: shape (series, 2).
        """
        return self._by_key.find(keys)

    def link(self, key: bytes, place: Place) -> None:
        """Know the place of a series by the key of its encoded labels as well."""
        self._by_key.put(key, place)

    def remember_item(self, store: str, owner_id: int, item: Item) -> None:
        """Know that it is stored, if the store's items are sent again and again. Only after the
        transaction that stored it has committed."""
        digest = ITEM_STORES[store].remembered
        if digest is not None:
            self._stored_items[store].put(digest(owner_id, item), _STORED)

    def knows_item(self, store: str, owner_id: int, item: Item) -> bool:
        """Whether it is known to be stored."""
        digest = ITEM_STORES[store].remembered
        return digest is not None and digest(owner_id, item) in self._stored_items[store].places

    def clear(self) -> None:
        """Forget everything: the database is another one, or went back in time."""
        for table in self._stored_items.values():
            table.clear()
        self._by_identity.clear()
        self._by_key.clear()
        self._ended.clear()
        self.stamps.clear()
        self.marks.clear()
        self.generation += 1

    def forget(self, series_ids: Collection[SeriesId]) -> None:
        """Forget these series, which are removed, and what is said of metrics, which may be."""
        gone = np.fromiter(series_ids, np.int64, len(series_ids))

        def is_gone(places: Int64s) -> npt.NDArray[np.bool_]:
            return np.isin(places >> _TARGET_BITS, gone)

        self._by_identity.drop(is_gone)
        self._by_key.drop(is_gone)
        self._stored_items["metadata"].clear()
        self.stamps.forget(series_ids)
        self.marks.forget(series_ids)
        self.generation += 1
        self._ended[self.generation] = frozenset(series_ids)
        while len(self._ended) > MOST_GENERATIONS:
            del self._ended[next(iter(self._ended))]

    def ended_since(self, generation: int) -> frozenset[SeriesId] | None:
        """Ids that were good in that generation and mean nothing any more; None: any of them."""
        if generation == self.generation:
            return frozenset()
        since = range(generation + 1, self.generation + 1)
        if not all(each in self._ended for each in since):
            return None
        return frozenset().union(*[self._ended[each] for each in since])


class _Table:
    """A dict that forgets what came first once it holds `most` entries."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._order: deque[bytes] = deque()
        self.places: dict[bytes, Place] = {}

    def put(self, key: bytes, place: Place) -> None:
        if key not in self.places:
            if len(self.places) >= self._most:
                del self.places[self._order.popleft()]
            self._order.append(key)
        self.places[key] = place

    def drop(self, is_gone: Callable[[Int64s], npt.NDArray[np.bool_]]) -> None:
        """Forget the places of which this holds: 60 ms where there are a million entries."""
        gone = is_gone(np.fromiter(self.places.values(), np.int64, len(self.places)))
        if gone.any():
            for key in compress([*self.places], gone.tolist()):
                del self.places[key]
            self._order = deque(self.places)  # a dict keeps the order in which they came

    def clear(self) -> None:
        self._order.clear()
        self.places.clear()

"""What a script sees of a series: a metric of Telegraf's, whose value and time are not to be seen.

The engine's conventions: a host object has its attributes in a dict `fields`, which may be assigned
to unless `_frozen`; what its type is called stands in `_starlark_type`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from starlark import Dict, EvalError, Mutability, ResourceLimitExceeded
from starlark.eval.builtins import current_thread
from starlark.values import starlark_type

ENTRY_BYTES = 64


class LookedInto(ResourceLimitExceeded):
    """A script asks for a value or a time. As a limit is, it cannot be caught by the script."""


class SampleValue(float):
    """The value of samples that are still to come: to be passed on, and nothing else.

    It is a float, so that `type(value)` is what it would be; whatever looks into it raises.

    Attributes:
        was_looked_into: something has, whatever became of what was raised.
    """

    was_looked_into = False


class SampleTime(int):
    """The time of samples that are still to come, in the same way."""

    was_looked_into = False


def looked_into(what: str) -> str:
    """What is told of a script that asks for the `value` or the `time` of a sample."""
    return (
        f"this depends on the {what} of a sample, which a script can pass on but not look into:"
        " it is asked once a series"
    )


def _refusal(what: str) -> Callable[..., Any]:
    def look(self: SampleValue | SampleTime, *_: object) -> Any:
        self.was_looked_into = True
        raise LookedInto(looked_into(what))

    return look


_LOOKS = (
    "lt le eq ne gt ge add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod"
    " divmod rdivmod pow rpow neg pos abs bool int float str repr format hash round trunc floor"
    " ceil and rand or ror xor rxor lshift rlshift rshift rrshift invert index"
)
for _kind, _what in ((SampleValue, "value"), (SampleTime, "time")):
    for _look in _LOOKS.split():
        setattr(_kind, f"__{_look}__", _refusal(_what))
    for _look in ("bit_length", "to_bytes", "is_integer", "as_integer_ratio", "hex", "conjugate"):
        setattr(_kind, _look, _refusal(_what))


class Watched(dict[str, str]):
    """Tags, and what scripts see of them and do to them: what they do not look at cannot matter.

    Attributes:
        seen: what they looked at, as it was sent; None where there was no such tag.
        written: what they wrote, last; None for what they took out.
        is_seen_whole: they looked at all of it.
    """

    def __init__(self, tags: Mapping[str, str]) -> None:
        super().__init__(tags)
        self.seen: dict[str, str | None] = {}
        self.written: dict[str, str | None] = {}
        self.is_seen_whole = False

    def _see(self, key: str) -> None:
        if key not in self.written and key not in self.seen:
            self.seen[key] = dict.get(self, key)

    def __contains__(self, key: object) -> bool:
        self._see(cast(str, key))
        return dict.__contains__(self, key)

    def __getitem__(self, key: str) -> str:
        self._see(key)
        return dict.__getitem__(self, key)

    def get(self, key: str, default: Any = None) -> Any:
        self._see(key)
        return dict.get(self, key, default)

    def __setitem__(self, key: str, text: str) -> None:
        self.written[key] = text
        dict.__setitem__(self, key, text)

    def pop(self, key: str, *default: Any) -> Any:
        self._see(key)
        self.written[key] = None
        return dict.pop(self, key, *default)

    def clear(self) -> None:
        self.is_seen_whole = True
        self.written.update(dict.fromkeys(dict.keys(self)))
        dict.clear(self)


def _seeing_all(method: Callable[..., Any]) -> Callable[..., Any]:
    def look(self: Watched, *others: Any) -> Any:
        self.is_seen_whole = True
        return method(self, *others)

    return look


for _name in ("iter", "len", "eq", "ne", "or", "ror", "repr", "reversed"):
    setattr(Watched, f"__{_name}__", _seeing_all(getattr(dict, f"__{_name}__")))
for _name in ("keys", "values", "items", "copy"):
    setattr(Watched, _name, _seeing_all(getattr(dict, _name)))


class _Texts(Dict):
    """Tags, or fields: a dict that tells at once, and in the line, what cannot be in it."""

    __slots__ = ()
    what = "tag"
    holds: tuple[type, ...] = (str,)

    def __init__(self, content: dict[str, Any], mutability: Mutability) -> None:
        super().__init__({}, mutability)
        self._data = content

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str):
            raise EvalError(f"the name of a {self.what} must be a string")
        if not isinstance(value, self.holds):
            raise EvalError(f"{self.what} {key!r} cannot hold a {starlark_type(value)}")
        self.mutability.check("dict")
        if (thread := current_thread()) is not None:
            thread.add_allocs(ENTRY_BYTES)
        self._data[key] = value  # not as the engine does it, which looks whether it is there

    def setdefault(self, key: Any, default: Any) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, other: Any) -> None:
        for key, value in other.items():
            self[key] = value


class _Fields(_Texts):
    __slots__ = ()
    what = "field"
    holds = (str, bool, int, float)


class _Attributes(dict[str, Any]):
    """`metric.name` and so on; the engine assigns here."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in ("name", "time"):
            raise EvalError(f"metric.{name} cannot be assigned to")
        if name == "name" and not isinstance(value, str):
            raise EvalError("metric.name must be a string")
        if name == "time" and not isinstance(value, SampleTime):
            raise EvalError(
                "metric.time can only be the time of a sample: it is asked once a series"
            )
        super().__setitem__(name, value)


class Metric:
    """One metric.

    Attributes:
        fields: its attributes, not its fields: `name`, `tags`, `fields`, `time`.
    """

    __slots__ = ("fields",)
    _starlark_type = "Metric"
    _frozen = False

    def __init__(
        self,
        name: str,
        tags: Watched,
        fields: dict[str, Any],
        time: SampleTime,
        mutability: Mutability,
    ) -> None:
        self.fields = _Attributes(
            name=name,
            tags=_Texts(tags, mutability),
            fields=_Fields(fields, mutability),
            time=time,
        )

    def __repr__(self) -> str:
        return f"Metric({self.name!r})"

    @property
    def name(self) -> str:
        """The measurement, as Telegraf calls it."""
        name: str = self.fields["name"]
        return name

    @property
    def tags(self) -> Watched:
        """Its tags, to be read."""
        tags: Watched = self.fields["tags"]._data
        return tags

    @property
    def values(self) -> dict[str, Any]:
        """Its fields, to be read."""
        values: dict[str, Any] = self.fields["fields"]._data
        return values

    def copy(self, mutability: Mutability) -> Metric:
        """Another one that is the same."""
        tags, values = Watched(self.tags), dict(self.values)
        return Metric(self.name, tags, values, self.fields["time"], mutability)

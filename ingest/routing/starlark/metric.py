"""What a script sees of a series: a metric of Telegraf's, whose value and time are not to be seen.

The engine's conventions: a host object has its attributes in a dict `fields`, which may be assigned
to unless `_frozen`; what its type is called stands in `_starlark_type`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlark import Dict, EvalError, Mutability, ResourceLimitExceeded
from starlark.values import starlark_type


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


class _Texts(Dict):
    """Tags, or fields: a dict that tells at once, and in the line, what cannot be in it."""

    __slots__ = ()
    what = "tag"
    holds: tuple[type, ...] = (str,)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str):
            raise EvalError(f"the name of a {self.what} must be a string")
        if not isinstance(value, self.holds):
            raise EvalError(f"{self.what} {key!r} cannot hold a {starlark_type(value)}")
        super().__setitem__(key, value)

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
        tags: Mapping[str, Any],
        fields: Mapping[str, Any],
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
    def tags(self) -> dict[str, str]:
        """Its tags, to be read."""
        tags: dict[str, str] = self.fields["tags"]._data
        return tags

    @property
    def values(self) -> dict[str, Any]:
        """Its fields, to be read."""
        values: dict[str, Any] = self.fields["fields"]._data
        return values

    def copy(self, mutability: Mutability) -> Metric:
        """Another one that is the same."""
        return Metric(self.name, self.tags, self.values, self.fields["time"], mutability)

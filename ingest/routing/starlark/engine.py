"""Scripts compiled and called, within bounds: the one room that knows how the engine works inside.

The engine (PyPI's `starlark`, a tree walker in Python) counts steps and memory, but not of what its
built-in functions and operators do at a stroke: `all(range(1 << 60))` is one step, `"%s" % s`
costs no memory. So four of its functions are replaced by ones that count that first; this is why
its version is pinned, and tests of attacks fail where an engine no longer calls them. All counts
depend on script and series alone, never on the clock: what is refused once is refused again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import starlark
from starlark import (
    BuiltinFunction,
    Dict,
    EvalError,
    Module,
    Mutability,
    Range,
    ResourceLimitExceeded,
    StarlarkList,
    StarlarkSet,
    StarlarkSyntaxException,
    Thread,
)
from starlark.eval import evaluator, limits
from starlark.eval.builtins import current_thread, with_mutability, with_thread
from starlark.syntax import ast
from starlark.syntax.location import FileLocations
from starlark.syntax.resolver import Binding, Scope
from starlark.syntax.tokens import TokenKind
from starlark.values import str_starlark

from ingest.errors import ConfigError, InvalidSeries
from ingest.logs import get_logger
from ingest.routing.starlark.metric import (
    Metric,
    SampleTime,
    SampleValue,
    Watched,
    looked_into,
)
from ingest.text import one_line

log = get_logger("starlark")

LOAD_STEPS, LOAD_BYTES = 1_000_000, 64 * 1024 * 1024
"""What the top level of a script may take, once, when it is loaded."""
LARGEST_CONTAINER = 1 << 20
"""Elements of a list, characters of a text: more are never made, not even for a moment."""
LONGEST_LOG = 1000
CHARACTERS_A_STEP = 64
NUMBER_CHARACTERS = 32


@dataclass(slots=True)
class Run:
    """One series on its way through all scripts, and what they took for it so far.

    Attributes:
        most_steps, most_bytes: what they may take.
    """

    most_steps: int
    most_bytes: int
    steps: int = 0
    bytes: int = 0
    value: SampleValue = field(default_factory=SampleValue)
    time: SampleTime = field(default_factory=SampleTime)
    mutability: Mutability = field(default_factory=lambda: Mutability("metric"))

    @property
    def looked_into(self) -> str | None:
        """What is to be told of a script that has asked for what nobody knows yet."""
        if self.value.was_looked_into:
            return looked_into("value")
        return looked_into("time") if self.time.was_looked_into else None


class Script:
    """A script, loaded: its globals are frozen, so what it answers depends on its argument alone.

    Args:
        name: for messages, such as `starlark[0]`.
        source: its text.
        constants: names that it finds defined.

    Raises:
        ConfigError: it is no Starlark, its top level fails, or it has no `apply(metric)`.
    """

    def __init__(self, name: str, source: str, constants: Mapping[str, Any]) -> None:
        self.name = name
        self._lines = FileLocations(name, source)
        self._predeclared = dict(constants) | _BUILTINS
        self._loaded = self._load(source)
        self._apply: Any = self._loaded.globals.get("apply")
        if len(getattr(self._apply, "params", ())) != 1:
            raise ConfigError(f"{name}: there must be a function apply(metric)")
        if isinstance(self._loaded.globals.get("state"), Dict):
            raise ConfigError(
                f"{name}: a script is asked once a series and keeps nothing in between;"
                " take its global `state` out"
            )

    def _load(self, source: str) -> Module:
        try:
            program = starlark.compile(source, filename=self.name, mode="file")
            loaded: Module = program.exec(
                predeclared=self._predeclared,
                universal=_UNIVERSAL,
                loader=_library,
                max_steps=LOAD_STEPS,
                max_allocs=LOAD_BYTES,
            )
        except StarlarkSyntaxException as error:
            first = error.errors[0]
            line, message = first.position.line, one_line(first.message)
            raise ConfigError(f"{self.name}, line {line}: {message}") from None
        except RecursionError:
            raise ConfigError(f"{self.name}: its expressions are too deeply nested") from None
        except Exception as error:  # the engine lets some of Python's own through
            message = one_line(error.message if isinstance(error, EvalError) else str(error))
            raise ConfigError(f"{self.name}{self._line(error)}: {message}") from None
        known = {*loaded.globals, *self._predeclared, *_UNIVERSAL}
        for name in _globals_of(program._file.statements):
            if name.name not in known:  # which the engine would only say when it gets there
                line = self._lines.position(name.start).line
                raise ConfigError(f"{self.name}, line {line}: name {name.name!r} is not defined")
        loaded.freeze()
        return loaded

    def apply(self, metric: Metric, run: Run) -> Any:
        """What `apply(metric)` returns.

        Raises:
            InvalidSeries: the script fails, asks for a value or a time, or takes too much.
        """
        module = Module(self.name)  # what is made by this call is not frozen
        module.globals = self._loaded.globals
        thread = Thread(
            module,
            predeclared=self._predeclared,
            universal=_UNIVERSAL,
            locs=self._lines,
            max_steps=run.most_steps,
            max_allocs=run.most_bytes,
        )
        thread.steps, thread.allocs, thread.thread_local[Run] = run.steps, run.bytes, run
        try:
            with with_mutability(module.mutability), with_thread(thread):
                returned = evaluator.call(self._apply, [metric], {}, thread)
        except RecursionError:
            raise InvalidSeries(f"{self.name}: its calls are too deeply nested") from None
        except Exception as error:  # the engine lets some of Python's own through
            raise InvalidSeries(self._complaint(error, thread, run)) from None
        finally:
            run.steps, run.bytes = thread.steps, thread.allocs
        if run.looked_into is not None:  # and what that raised was lost on its way
            raise InvalidSeries(f"{self.name}: {run.looked_into}")
        return returned

    def _complaint(self, error: Exception, thread: Thread, run: Run) -> str:
        if run.looked_into is not None:  # whatever the engine made of it
            message = run.looked_into
        elif isinstance(error, starlark.StepLimitExceeded):
            message = f"more than {thread.max_steps} operations (limits.script_steps)"
        elif isinstance(error, starlark.AllocLimitExceeded):
            message = f"more than {thread.max_allocs} bytes (limits.script_memory_bytes)"
        else:
            message = error.message if isinstance(error, EvalError) else str(error)
        return f"{self.name}{self._line(error)}: {one_line(message)}"

    def _line(self, error: Exception) -> str:
        """Where it failed: at the innermost of its nodes that the engine was at."""
        found, traceback = None, error.__traceback__
        while traceback is not None:
            names = traceback.tb_frame.f_locals
            node = names.get("expr") or names.get("stmt")
            found = node if isinstance(node, ast.Node) else found
            traceback = traceback.tb_next
        return "" if found is None else f", line {self._lines.position(found.start).line}"


def _globals_of(statements: list[Any]) -> Iterator[ast.Identifier]:
    """All names in resolved statements that are no function's own; those of `load` aside."""
    waiting = list(reversed(statements))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Identifier):
            if isinstance(node.binding, Binding) and node.binding.scope is Scope.GLOBAL:
                yield node
        elif isinstance(node, list):
            waiting += reversed(node)
        elif is_dataclass(node) and not isinstance(node, ast.LoadStatement):
            waiting += [getattr(node, one.name) for one in reversed(fields(node))]


# What scripts find defined, and what they can load.


def _run() -> Run:
    thread = current_thread()
    if thread is None or Run not in thread.thread_local:
        raise EvalError("there is no metric yet while a script is loaded")
    run: Run = thread.thread_local[Run]
    return run


def _new_metric(name: Any, tags: Any = None, fields: Any = None) -> Metric:
    run = _run()
    metric = Metric("", Watched({}), {}, run.time, run.mutability)
    metric.fields["name"] = name
    for attribute, given in (("tags", tags), ("fields", fields)):
        if given is not None and not isinstance(given, Dict):
            raise EvalError(f"{attribute} must be a dict")
        metric.fields[attribute].update(given if given is not None else {})
    return metric


def _deepcopy(metric: Any) -> Metric:
    if not isinstance(metric, Metric):
        raise EvalError("deepcopy takes a metric")
    thread = current_thread()
    thread.tick(len(metric.tags) + len(metric.values))  # which sees all tags
    return metric.copy(_run().mutability)


def _catch(function: Any) -> str | None:
    """Telegraf's: the message of what fails, None where nothing does; limits are not caught."""
    try:
        evaluator.call(function, [], {}, current_thread())
    except ResourceLimitExceeded:
        raise
    except EvalError as error:
        return str(error.message)
    return None


def _hash(text: Any) -> int:
    """As Java's String.hashCode: the engine's own is another one in every process."""
    if not isinstance(text, str):
        raise EvalError("hash takes a string")
    units = text.encode("utf-16-be", "surrogatepass")
    total = 0
    for place in range(0, len(units), 2):
        total = (31 * total + int.from_bytes(units[place : place + 2], "big")) & 0xFFFFFFFF
    return total - ((total & 0x80000000) << 1)


def _say(level: str) -> Callable[..., None]:
    def say(*parts: Any, **_: Any) -> None:
        text = " ".join(str_starlark(part) for part in parts)
        getattr(log, level)("a script says", message=text[:LONGEST_LOG])

    return say


def _library(name: str) -> Module:
    """What `load(name, …)` finds."""
    module = Module(name)
    if name == "logging.star":
        levels = {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}
        said = {ours: _say(theirs) for ours, theirs in levels.items()}
        module.globals = {"log": starlark.namespace("log", said)}
    elif name == "json.star":
        module.globals = {"json": _UNIVERSAL["json"]}
    else:
        raise EvalError(f'load("{name}"): only logging.star and json.star are there')
    return module


_BUILTINS = {
    name: BuiltinFunction(name, function)
    for name, function in (("Metric", _new_metric), ("deepcopy", _deepcopy), ("catch", _catch))
}
_UNIVERSAL = starlark.make_universal() | {
    "hash": BuiltinFunction("hash", _hash),
    "print": BuiltinFunction("print", _say("debug")),
}


# What the engine does not count by itself.

_CHEAP = {"append", "len", "type", "bool", "range", "insert", "pop", "add", "setdefault", "get"}
"""Functions that do not look through their arguments."""


def _size(values: list[Any], most: int) -> tuple[int, int]:
    """How many elements there are in values, each as often as it is met, and about how many
    characters they make as text; counting ends soon after `most`."""
    waiting, elements, characters = list(values), 0, 0
    while waiting and elements + characters // CHARACTERS_A_STEP <= most:
        value = waiting.pop()
        if type(value) is str:
            characters += len(value)
        elif isinstance(value, (tuple, StarlarkList, StarlarkSet, Dict)):
            elements += len(value)
            if elements <= most:
                waiting.extend(value)
                if isinstance(value, Dict):
                    waiting.extend(value.values())
        elif isinstance(value, Range):
            count = value.__len__()  # which may be more than len() takes
            elements += count
            characters += NUMBER_CHARACTERS * count
        else:
            characters += NUMBER_CHARACTERS
    return elements + characters // CHARACTERS_A_STEP, characters


def _count_call(thread: Thread, function: BuiltinFunction, arguments: list[Any]) -> None:
    """Charge what a built-in function will do, before it does."""
    name, implementation = function.name, function.impl
    receiver = None
    if isinstance(implementation, functools.partial) and implementation.args:
        receiver = implementation.args[0]
        if isinstance(receiver, StarlarkList | StarlarkSet):
            is_search = name in ("index", "count", "remove")
            thread.tick(len(receiver) // (1 if is_search else CHARACTERS_A_STEP))
    if name in _CHEAP:
        return
    most = thread.max_steps or LOAD_STEPS
    steps, characters = _size(arguments, most)
    thread.tick(steps * (8 if name == "sorted" else 1))
    if type(receiver) is str:
        thread.tick(len(receiver) // CHARACTERS_A_STEP)
        characters += len(receiver) * (1 if name != "join" else 1 + steps)
        if name == "format":
            characters *= 1 + receiver.count("{")
        elif (
            name == "replace" and len(arguments) > 1 and all(type(x) is str for x in arguments[:2])
        ):
            characters += receiver.count(arguments[0]) * len(arguments[1])
    thread.add_allocs(characters)


def _counted_call(
    function: Any,
    positional: list[Any],
    keyword: dict[str, Any],
    thread: Thread,
    position: Any = None,
) -> Any:
    if isinstance(function, BuiltinFunction):
        _count_call(thread, function, [*positional, *keyword.values()])
    return _call(function, positional, keyword, thread, position)


def _counted_operator(operator: TokenKind, left: Any, right: Any) -> Any:
    thread = current_thread()
    steps, characters = _size([left, right], thread.max_steps or LOAD_STEPS)
    thread.tick(steps)
    if operator == TokenKind.PERCENT and type(left) is str:
        thread.add_allocs(characters)
    return _operate(operator, left, right)


def _counted_items(value: Any) -> Iterator[Any]:
    if not isinstance(value, Range):
        items: Iterator[Any] = _iterate(value)
        return items
    return _each(value, current_thread())


def _each(numbers: Range, thread: Thread) -> Iterator[int]:
    for number in numbers:
        thread.tick()
        yield number


def _counted_expression(expression: Any, frame: Any, thread: Thread) -> Any:
    """Tuples of tuples of tuples double at each step, and so does what it takes to hash them."""
    value = _evaluate(expression, frame, thread)
    if type(value) is tuple:
        steps, _ = _size([value], thread.max_steps or LOAD_STEPS)
        thread.tick(steps)
    elif type(value) is str and type(expression) is ast.SliceExpression:
        thread.add_allocs(len(value))
    return value


_call, _operate = evaluator.call, evaluator._binop
_iterate, _evaluate = evaluator._iterate, evaluator._eval_expr_inner
for _place, _counted in {
    "call": _counted_call,
    "_binop": _counted_operator,
    "_iterate": _counted_items,
    "_eval_expr_inner": _counted_expression,
}.items():
    setattr(evaluator, _place, _counted)
limits.MAX_CONTAINER_ELEMENTS = LARGEST_CONTAINER

"""An agent as the runtime sees it: a name, a way to call it, and a policy.

Framework adapters (``perdure.frameworks``) and plain functions all become this one thing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from perdure import codec
from perdure.core.hooks import Hooks
from perdure.core.ports import current_boundary
from perdure.errors import InvalidInput, UsageError
from perdure.runtime.policy import Policy
from perdure.runtime.threads import in_thread

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt
    from perdure.runtime.place import Place

# What decoded JSON may be where an agent asks for a plain type.
_PLAIN: dict[type, tuple[type, ...]] = {
    str: (str,), bool: (bool,), int: (int,), float: (int, float), list: (list,), dict: (dict,),
}  # fmt: skip
_NOUNS: dict[type, str] = {
    str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "a list",
    dict: "an object", type(None): "null",
}  # fmt: skip
# (attempt, decoded input) -> output; runs inside the attempt's own task
Invoke = Callable[["Attempt", Any], Any]


@dataclass(frozen=True, slots=True)
class Agent:
    """What is served. ``invoke`` is awaited with the attempt and the decoded input; ``sync``
    says that the agent's own code runs in a thread of its own. ``namer`` gives the framework's
    stable name of the calling branch (K3)."""

    name: str
    invoke: Invoke
    policy: Policy = field(default_factory=Policy)
    framework: str = "python"
    description: str = ""
    sync: bool = False
    namer: Callable[[], str | None] | None = None
    input_type: Any = None
    output_type: Any = None
    schema: Callable[[], dict[str, Any] | None] | None = None  # of the input, made when asked
    check: Callable[[Any], Any] | None = None  # raises InvalidInput for what it cannot take
    target: Any = None  # what the user handed over
    tools: dict[str, Any] = field(default_factory=dict)  # declared promises (P2)
    hooks: Hooks = field(default_factory=Hooks)  # of the App that holds it

    @property
    def queue(self) -> str:
        """An agent's runs have a queue of their own, so that a worker claims only what it can
        execute."""
        return self.name

    def decode_input(self, data: bytes) -> Any:
        """Raises InvalidInput when the input does not fit what the agent takes."""
        try:
            value = codec.decode(data, self.input_type, what=f"input of agent {self.name!r}")
        except UsageError as error:
            raise InvalidInput(error.message, hint=error.hint) from error
        if value is not None:  # null may stand for "no input"
            _hold_to(self.input_type, value, f"Agent {self.name!r}")
        return value

    def validate(self, data: bytes) -> None:
        """Refuse an input before a run is made of it. Raises InvalidInput."""
        value = self.decode_input(data)
        if self.check is not None:
            self.check(value)

    def encode_output(self, value: Any) -> bytes:
        return codec.encode(value, self.output_type, what=f"result of agent {self.name!r}")


def _hold_to(annotation: Any, value: Any, who: str) -> None:
    """The codec takes plain JSON types as they come; what comes from outside must fit."""
    fits = _PLAIN.get(annotation) if isinstance(annotation, type) else None
    if fits is not None and type(value) not in fits:
        raise InvalidInput(f"{who} takes {_noun(annotation)}, not {_noun(type(value))}.")


def _noun(kind: type) -> str:
    """A plain type as JSON calls it: who sends an input need not know Python."""
    return _NOUNS.get(kind, f"a value of type {kind.__name__}")


def from_function(
    function: Callable[..., Any], *, name: str | None = None, policy: Policy | None = None
) -> Agent:
    """A plain function as an agent: async, sync, or an async generator (a token stream).

    It takes nothing, one input, or named parameters that a JSON object fills.
    """
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    name = name or str(getattr(target, "__name__", type(target).__name__))
    if not inspect.isroutine(target):
        target = type(target).__call__
    shape = _Parameters(function, target, name)
    if inspect.isasyncgenfunction(target):
        invoke, sync = _stream(function, shape), False
    elif inspect.iscoroutinefunction(target):
        invoke, sync = _async(function, shape), False
    else:
        invoke, sync = _threaded(function, shape), True
    return Agent(
        name=name,
        invoke=invoke,
        policy=policy or Policy(),
        description=(inspect.getdoc(function) or "").partition("\n")[0],
        sync=sync,
        input_type=shape.input_type,
        output_type=shape.output_type,
        schema=shape.schema,
        check=shape.bind,
        target=function,
    )


class _Parameters:
    """How a run's one input becomes a function's arguments."""

    def __init__(self, function: Callable[..., Any], target: Any, name: str) -> None:
        """``target`` is what ``function`` leads to: it has the annotations."""
        signature = inspect.signature(function)
        try:
            hints = get_type_hints(target)
        except Exception:  # a name that only a type checker can resolve
            hints = {}
        allowed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
        self._required: list[str] = []
        self.names: list[str] = []
        self._types: dict[str, Any] = {}
        for parameter in signature.parameters.values():
            if parameter.kind in allowed or parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                self.names.append(parameter.name)
                self._types[parameter.name] = hints.get(parameter.name, Any)
                if parameter.default is inspect.Parameter.empty:
                    self._required.append(parameter.name)
        # A wrapper without parameters of its own passes on what it gets.
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        self._passes_on = not self.names and inspect.Parameter.VAR_POSITIONAL in kinds
        self._name = name
        self.single = len(self.names) == 1 or (len(self._required) == 1)
        self.input_type = self._types[self.names[0]] if len(self.names) == 1 else None
        self.output_type = None if inspect.isasyncgenfunction(target) else hints.get("return")

    def bind(self, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self.names:
            return ((value,), {}) if self._passes_on else ((), {})
        if len(self.names) == 1:
            return self._one(value)
        if isinstance(value, dict):
            unknown = sorted(set(value) - set(self.names))
            missing = [n for n in self._required if n not in value]
            if not unknown and not missing:
                return (), {k: self._typed(k, v) for k, v in value.items()}
            if not self.single:
                raise InvalidInput(
                    f"Agent {self._name!r} takes {self.names}; "
                    f"missing: {missing or 'none'}, unknown: {unknown or 'none'}."
                )
        if self.single:
            first = self._required[0] if self._required else self.names[0]
            return (), {first: self._typed(first, value)}
        raise InvalidInput(
            f"Agent {self._name!r} takes an object with {self.names}, not {_noun(type(value))}."
        )

    def _one(self, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """For the only parameter. Null is no input: the default stands for it."""
        if value is None:
            if not self._required:
                return (), {}
            if isinstance(self.input_type, type) and self.input_type in _PLAIN:
                raise InvalidInput(
                    f"Agent {self._name!r} takes {_noun(self.input_type)}, and got no input."
                )
        return (value,), {}

    def _typed(self, name: str, value: Any) -> Any:
        annotation = self._types[name]
        if annotation is Any:
            return value
        what = f"input {name!r} of agent {self._name!r}"
        _hold_to(annotation, value, what.capitalize())
        try:
            return codec.decode(codec.encode(value), annotation, what=what)
        except UsageError as error:
            raise InvalidInput(error.message, hint=error.hint) from error

    def schema(self) -> dict[str, Any] | None:
        """The input's JSON Schema, where annotations give one."""
        typed = {n: t for n, t in self._types.items() if t is not Any}
        if not typed:
            return None
        from pydantic import TypeAdapter

        try:
            schemas = {n: TypeAdapter(t).json_schema() for n, t in typed.items()}
        except Exception:  # an annotation without a schema (a protocol, a callable)
            return None
        if len(self.names) == 1:
            return schemas[self.names[0]]
        return {
            "type": "object",
            "properties": {n: schemas.get(n, {}) for n in self.names},
            "required": self._required,
        }


def _async(function: Callable[..., Any], shape: _Parameters) -> Invoke:
    async def invoke(attempt: Attempt, value: Any) -> Any:
        args, kwargs = shape.bind(value)
        return await function(*args, **kwargs)

    return invoke


def _threaded(function: Callable[..., Any], shape: _Parameters) -> Invoke:
    async def invoke(attempt: Attempt, value: Any) -> Any:
        args, kwargs = shape.bind(value)
        place = cast("Place | None", current_boundary.get())

        def body() -> Any:
            if place is not None:  # None: durability="none", there is no run
                place.mine()
            return function(*args, **kwargs)

        result = await in_thread(body, name=attempt.run_id, left=lambda: attempt.left)
        # A plain function may lead to an async one without saying so (partials, wrappers).
        return await result if inspect.isawaitable(result) else result

    return invoke


def _stream(function: Callable[..., AsyncIterator[Any]], shape: _Parameters) -> Invoke:
    async def invoke(attempt: Attempt, value: Any) -> Any:
        args, kwargs = shape.bind(value)
        items: list[Any] = []
        async for item in function(*args, **kwargs):
            attempt.output(item)
            items.append(item)
        return "".join(items) if items and all(isinstance(i, str) for i in items) else items

    return invoke

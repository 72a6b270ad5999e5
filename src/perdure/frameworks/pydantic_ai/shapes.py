"""Inputs and outputs of agents as JSON, in Pydantic AI's own shapes.

In: a string, or an object with parameters of ``agent.run``: ``user_prompt`` (text, or a list of
text and files), ``message_history`` (as ``ModelMessagesTypeAdapter`` writes it), ``deps``. Out: the
output by its type.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, get_type_hints, is_typeddict

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, UserContent

from perdure.errors import ConfigError, InvalidInput
from perdure.frameworks.plain import plain

_NOTHING = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Given:
    """A run's input, read. ``deps``: as JSON, or of the type that is asked for."""

    prompt: Any
    history: list[ModelMessage] | None
    deps: Any = None


class Dependencies:
    """Where an agent's ``deps`` come from: from nowhere, the run's input, or a function that may
    take those of the input. Raises ConfigError where the agent has a ``deps_type`` that JSON cannot
    be held to, and no function makes it."""

    def __init__(
        self, agent: AbstractAgent[Any, Any], name: str, make: Callable[..., Any] | None
    ) -> None:
        self.make = make
        self.annotation: Any = _NOTHING
        self.required = False
        if make is not None:
            self._take_from(make)
        elif agent.deps_type not in (object, type(None)):  # both are "none", by version
            self.annotation, self.required = agent.deps_type, True
            if not _is_data(self.annotation):
                raise ConfigError(
                    f"Agent {name!r} needs deps of the type {self.annotation.__name__!r}, which a "
                    "run's input cannot say.",
                    hint="app.add(Configured(agent, deps=make_deps)), with Configured of "
                    "perdure.frameworks.pydantic_ai; or serve a function that calls agent.run().",
                )

    def _take_from(self, make: Callable[..., Any]) -> None:
        parameters = list(inspect.signature(make).parameters.values())
        if parameters:
            try:
                hints = get_type_hints(inspect.unwrap(make))
            except Exception:  # a name that only a type checker can resolve
                hints = {}
            self.annotation = hints.get(parameters[0].name, Any)
            self.required = parameters[0].default is _NOTHING

    @property
    def taken(self) -> bool:
        """Whether a run's input may say something of them."""
        return self.annotation is not _NOTHING

    def read(self, value: Any) -> Any:
        """Raises pydantic's ValidationError."""
        return TypeAdapter(self.annotation).validate_python(value)


def _is_data(annotation: Any) -> bool:
    """Whether a type is made to be made of JSON: not any class that pydantic can look into."""
    if not isinstance(annotation, type):
        return True  # an annotation
    if issubclass(annotation, BaseModel) or is_typeddict(annotation):
        return True
    if annotation in (str, int, float, bool, dict, list):
        return True
    if not hasattr(annotation, "__dataclass_fields__"):
        return False
    try:
        TypeAdapter(annotation).json_schema()
    except Exception:  # a field that is no data
        return False
    return True


def read_input(value: Any, deps: Dependencies, *, agent: str) -> Given:
    """A run's input. Raises InvalidInput."""
    if isinstance(value, str | list) or value is None:
        value = {"user_prompt": value}
    if not isinstance(value, dict):
        raise InvalidInput(
            f"Agent {agent!r} takes a string or an object, not {type(value).__name__}."
        )
    known = ["user_prompt", "message_history", *(["deps"] if deps.taken else [])]
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise InvalidInput(
            f"Agent {agent!r} has no input {unknown[0]!r}.", hint=f"Inputs: {', '.join(known)}"
        )
    if deps.required and "deps" not in value:
        raise InvalidInput(f"Agent {agent!r} needs deps.", hint='{"user_prompt": .., "deps": ..}')
    at = "user_prompt"
    try:
        prompt = _prompts().validate_python(value.get("user_prompt"))
        at = "message_history"
        history = value.get("message_history")
        if history is not None:
            history = ModelMessagesTypeAdapter.validate_python(history)
        at = "deps"
        given = deps.read(value["deps"]) if "deps" in value else None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (at, *first["loc"]))
        raise InvalidInput(f"Input {where} of agent {agent!r}: {first['msg']}.") from error
    if prompt is None and not history:
        raise InvalidInput(
            f"Agent {agent!r} was asked nothing.", hint="A string, or a user_prompt."
        )
    return Given(prompt, history, given)


@cache
def _prompts() -> TypeAdapter[Any]:
    return TypeAdapter(str | list[UserContent] | None)


def input_schema(deps: Dependencies) -> dict[str, Any]:
    """The JSON Schema of an agent's input."""
    content: dict[str, Any] = {"type": ["string", "object"]}
    properties: dict[str, Any] = {
        "user_prompt": {
            "description": "What the user says: text, or text and files.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": content}],
        },
        "message_history": {
            "description": "The conversation so far, as ModelMessagesTypeAdapter writes it.",
            "type": "array",
            "items": {"type": "object"},
        },
    }
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
    if deps.taken:
        properties["deps"] = _deps_schema(deps.annotation)
        for name, inner in properties["deps"].pop("$defs", {}).items():
            schema.setdefault("$defs", {})[name] = inner
    schema["properties"] = properties
    if deps.required:
        return {**schema, "required": ["deps"]}
    definitions = schema.pop("$defs", None)
    either: dict[str, Any] = {"anyOf": [{"type": "string"}, schema]}
    return {**either, "$defs": definitions} if definitions else either


def _deps_schema(annotation: Any) -> dict[str, Any]:
    try:
        return TypeAdapter(annotation).json_schema()
    except Exception:  # what the function takes is its own affair
        return {}


class _Result(Protocol):
    output: Any

    def new_messages(self) -> list[ModelMessage]: ...


def output_of(result: _Result) -> Any:
    """The output as JSON values."""
    output = result.output
    try:
        return TypeAdapter(type(output)).dump_python(output, mode="json")
    except Exception:  # a class that pydantic does not know
        return plain(output)


def messages_of(result: _Result) -> Any:
    """What the run added to the conversation, as the next run's ``message_history`` takes it."""
    return ModelMessagesTypeAdapter.dump_python(result.new_messages(), mode="json")


def output_type(agent: AbstractAgent[Any, Any]) -> Any:
    """The type of the output, where the agent says just that."""
    declared = agent.output_type
    return declared if isinstance(declared, type) else None

"""The closed codec: what an effect, an input or a result is as bytes (rule K8).

A stored value is JSON text; or, after a leading byte that no JSON text begins with, raw bytes
(``RAW``) or a reference into the blob store (``BLOB``). Annotated values (pydantic models,
dataclasses, datetimes, decimals, UUIDs, typed dictionaries, unions) round-trip through
pydantic's ``TypeAdapter``; everything else must be plain JSON values. Never pickle, and nothing
is ever imported by a name found in data.

Limits of plain JSON that are errors here and not silent changes: NaN and infinities, integers
over 64 bits, keys that are not strings, bytes inside other values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any

import orjson

from perdure.errors import CodecError, EffectFailed, PerdureError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

RAW = b"\x00"
BLOB = b"\x01"
MAX_DEPTH = 200

_PLAIN: frozenset[Any] = frozenset(
    {None, Any, object, str, int, float, bool, dict, list, type(None)}
)


def encode(value: Any, annotation: Any = None, *, what: str = "value") -> bytes:
    """``value`` as stored bytes. ``what`` names it in errors. Raises :class:`CodecError`."""
    if isinstance(value, bytes | bytearray | memoryview):
        return RAW + bytes(value)
    if _is_plain(annotation):
        return _dump(value, what)
    adapter = _adapter(annotation)
    try:
        data: bytes = adapter.dump_json(value, warnings="none")
    except Exception as error:
        raise CodecError(f"The {what} cannot be written as JSON: {error}") from error
    return data


def decode(data: bytes, annotation: Any = None, *, what: str = "value") -> Any:
    """The value of stored bytes, as ``annotation`` says. Raises :class:`CodecError`."""
    if data[:1] == RAW:
        return data[1:]
    if data[:1] == BLOB:
        raise CodecError(f"The {what} is in the blob store and was not fetched.")
    if _is_plain(annotation):
        return orjson.loads(data)
    adapter = _adapter(annotation)
    try:
        return adapter.validate_json(data)
    except Exception as error:
        raise CodecError(
            f"The {what} does not fit its annotation {annotation!r}: {error}",
            hint="Make the annotation say what is really returned, or leave it out.",
        ) from error


def canonical(value: Any) -> bytes:
    """Bytes that are equal for equal content, for digests only: keys sorted, and a thing that
    is no JSON value (a client, a connection, ``self``) stands for its type."""
    try:
        return orjson.dumps(value, _stand_in, orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError, RecursionError):
        return repr(_simplify(value, 0)).encode("utf-8", "backslashreplace")


def encode_failure(error: BaseException) -> bytes:
    """An exception as stored bytes: class name, message, and its arguments where JSON."""
    cls = type(error)
    try:
        message = str(error).encode("utf-8", "backslashreplace").decode()
    except Exception:  # its own __str__ fails
        message = ""
    doc: dict[str, Any] = {"type": f"{cls.__module__}:{cls.__qualname__}", "message": message}
    if isinstance(error, PerdureError):
        doc["code"] = error.code
        doc["hint"] = error.hint
    try:
        doc["args"] = orjson.loads(orjson.dumps(error.args))
    except TypeError:
        pass
    return orjson.dumps(doc)


def decode_failure(data: bytes) -> BaseException:
    """The exception to raise for a recorded failure (rule F2): of the original class when that
    class is already imported here, else :class:`EffectFailed` naming it."""
    doc = orjson.loads(data)
    name, message = str(doc.get("type", "")), str(doc.get("message", ""))
    cls = _imported_exception(name)
    if cls is not None and "args" in doc:
        for make in (_construct, _bare, _saying):
            try:
                rebuilt = make(cls, doc["args"], message)
                if str(rebuilt) == message:
                    return rebuilt
            except Exception:
                continue
    return EffectFailed(f"{name.rpartition(':')[2]}: {message}", type=name)


def _construct(cls: type[Exception], args: list[Any], message: str) -> Exception:
    return cls(*args)


def _bare(cls: type[Exception], args: list[Any], message: str) -> Exception:
    """For a class that is constructed of more than its ``args`` hold (a response, a request): what
    catches the class catches this too, though it has no attributes."""
    bare = cls.__new__(cls, *args)
    bare.args = tuple(args)
    return bare


def _saying(cls: type[Exception], args: list[Any], message: str) -> Exception:
    """For a class that says more than its ``args`` (an OSError's file)."""
    return cls(message)


def _imported_exception(name: str) -> type[Exception] | None:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _dump(value: Any, what: str) -> bytes:
    try:
        data = orjson.dumps(value, _convert)
    except (TypeError, RecursionError) as error:
        where = _offender(value, "", 0)
        raise CodecError(
            f"The {what} cannot be written as JSON{where or f': {error}'}",
            hint="Return plain JSON values, or annotate the function with the type it returns.",
        ) from error
    # orjson writes NaN and infinities as null; look closer only where a null was written.
    if b"null" in data and (where := _offender(value, "", 0)):
        raise CodecError(f"The {what} cannot be written as JSON{where}")
    return data


def _convert(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json")
    if isinstance(value, set | frozenset):
        raise TypeError("sets have no order; return a sorted list")
    raise TypeError(f"{type(value).__qualname__} is not a JSON value")


def _stand_in(value: Any) -> Any:
    try:
        return _convert(value)
    except Exception:  # a model that cannot be written stands for its type too
        if isinstance(value, bytes | bytearray):
            return {"$bytes": bytes(value).hex()}
        if isinstance(value, set | frozenset):
            return {"$set": sorted(map(repr, value))}
        return {"$type": f"{type(value).__module__}.{type(value).__qualname__}"}


def _simplify(value: Any, depth: int) -> Any:
    """What ``canonical`` falls back to where orjson refuses (huge integers, odd strings)."""
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return sorted((repr(k), _simplify(v, depth + 1)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return [_simplify(v, depth + 1) for v in value]
    if value is None or isinstance(value, str | int | float | bool | Decimal):
        return value
    return _stand_in(value)


def _offender(value: Any, path: str, depth: int) -> str | None:
    """Where in ``value`` the first thing is that JSON cannot hold, as the end of a sentence."""
    at = f" at {path}" if path else ""
    if depth > MAX_DEPTH:
        return f": it is nested more than {MAX_DEPTH} deep"
    if isinstance(value, float) and not isfinite(value):
        return f": {value} is no JSON number{at}"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return f": an integer over 64 bits{at} (send it as a string)"
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                return f": the key {key!r}{at} is no string"
            if found := _offender(item, f"{path}.{key}", depth + 1):
                return found
        return None
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            if found := _offender(item, f"{path}[{i}]", depth + 1):
                return found
        return None
    try:
        orjson.dumps(value, _convert)
    except TypeError as error:
        return f": {error.__cause__ or error}{at}"
    return None


def _is_plain(annotation: Any) -> bool:
    try:
        return annotation in _PLAIN
    except TypeError:  # an unhashable annotation is none of the plain ones
        return False


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(annotation)
    except TypeError:
        return _build_adapter(annotation)


def _build_adapter(annotation: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # costs ~100 ms to import: only where annotations need it

    try:
        return TypeAdapter(annotation)
    except Exception as error:
        raise CodecError(
            f"The annotation {annotation!r} cannot be written as JSON: {error}",
            hint="Annotate with JSON values, dataclasses or pydantic models.",
        ) from error


_cached_adapter: Callable[[Any], TypeAdapter[Any]] = lru_cache(maxsize=1024)(_build_adapter)

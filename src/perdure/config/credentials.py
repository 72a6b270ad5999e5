"""Where a credential comes from: a variable or a file, never the settings file itself."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.errors import ConfigError

_HINT = (
    "Secrets stay out of the settings file: put it into a variable or a file, and say which: "
    '[keys.{label}] env = "OPENAI_KEY_2", or file = "/run/secrets/openai".'
)


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """``[keys.LABEL]``: one of ``env`` and ``file`` is set."""

    label: str
    env: str = ""
    file: str = ""

    def read(self, environ: Mapping[str, str] | None = None) -> str:
        """The secret as it is now: a file may have been renewed. Raises ConfigError."""
        if self.env:
            found = (os.environ if environ is None else environ).get(self.env, "").strip()
            where = f"The variable {self.env}"
        else:
            where = f"The file {self.file}"
            try:
                found = Path(self.file).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is no text"
                raise ConfigError(
                    f"{where}, which holds the credential {self.label!r}, cannot be read: {reason}"
                ) from None
        if not found:
            raise ConfigError(
                f"{where}, which is to hold the credential {self.label!r}, is empty.",
                hint=f"See [keys.{self.label}] in perdure.toml.",
            )
        if any(char.isspace() or not char.isprintable() for char in found):
            raise ConfigError(
                f"{where}, which is to hold the credential {self.label!r}, has blanks in it."
            )
        return found


def read_keys(content: Any, at: str, sources: dict[str, str]) -> dict[str, KeyConfig]:
    """``[keys.LABEL]`` tables. No message repeats a value: it may be a secret. Raises
    ConfigError."""
    if not isinstance(content, dict):
        raise ConfigError(f"{at}: keys must hold tables: [keys.LABEL]")
    found: dict[str, KeyConfig] = {}
    for label, table in content.items():
        hint = _HINT.format(label=label)
        if not isinstance(table, dict):
            raise ConfigError(f"{at}: keys.{label} must be a table: [keys.{label}]", hint=hint)
        unknown = sorted(set(table) - {"env", "file"})
        if unknown:
            raise ConfigError(
                f"There is no setting keys.{label}.{unknown[0]} (from {at}).", hint=hint
            )
        if len(table) != 1:
            raise ConfigError(
                f"[keys.{label}] (from {at}) needs env or file, one of them.", hint=hint
            )
        ((name, value),) = table.items()
        if not isinstance(value, str) or not value:
            raise ConfigError(f"keys.{label}.{name} (from {at}) is not a text.", hint=hint)
        if name == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", value):
            raise ConfigError(f"keys.{label}.env (from {at}) is no variable's name.", hint=hint)
        if name == "file" and not _is_path(value):
            raise ConfigError(f"keys.{label}.file (from {at}) is no path.", hint=hint)
        sources[f"keys.{label}.{name}"] = at
        found[label] = KeyConfig(label, **{name: value})
    return found


def _is_path(text: str) -> bool:
    """A bare word could be the secret itself; a path has a slash or an ending."""
    return "\n" not in text and ("/" in text or "\\" in text or "." in text)

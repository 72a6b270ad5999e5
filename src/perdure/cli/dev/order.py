"""What ``perdure dev`` was asked to serve, in a form that another process can be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from perdure.cli import options
from perdure.config import Config
from perdure.runtime.agent import Agent


@dataclass(frozen=True, slots=True)
class Order:
    """``flags``: ``section__key`` -> value, None for what was not given. ``first``: nothing was
    served before it."""

    targets: tuple[str, ...]
    config_file: Path | None
    store: str | None
    flags: Mapping[str, Any]
    first: bool = True

    def load(self) -> Config:
        """The settings as they are now, with logging set up. Raises ConfigError."""
        from perdure.cli import process

        config = options.load(self.config_file, self.store, **self.flags)
        process.prepare(config)
        return config

    def agents(self, config: Config) -> dict[str, Agent]:
        """Raises TargetError, ConfigError."""
        from perdure.cli.agents import load_agents

        return load_agents(self.targets, config)

    def encode(self, *, first: bool) -> str:
        file = None if self.config_file is None else str(self.config_file)
        return orjson.dumps([self.targets, file, self.store, self.flags, first]).decode()

    @classmethod
    def decode(cls, text: str) -> Order:
        targets, file, store, flags, first = orjson.loads(text)
        return cls(tuple(targets), None if file is None else Path(file), store, flags, first)

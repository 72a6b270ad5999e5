"""All settings together, and how they are shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from perdure.config.convert import kinds
from perdure.config.credentials import KeyConfig
from perdure.config.lists import LimitConfig, PriceConfig
from perdure.config.sections import (
    AgentConfig,
    GatewayConfig,
    LogConfig,
    ProxyConfig,
    RetentionConfig,
    ServerConfig,
    SpendConfig,
    StoreConfig,
    TestingConfig,
    WorkerConfig,
)  # fmt: skip
from perdure.config.values import plain
from perdure.core.budget import Budget
from perdure.core.routing import Route


@dataclass(frozen=True, slots=True)
class Config:
    """Everything. ``sources`` maps ``section.key`` to where its value came from."""

    store: StoreConfig = field(default_factory=StoreConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    proxy: ProxyConfig = field(default_factory=ProxyConfig)
    spend: SpendConfig = field(default_factory=SpendConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    log: LogConfig = field(default_factory=LogConfig)
    testing: TestingConfig = field(default_factory=TestingConfig)
    agents: dict[str, AgentConfig] = field(default_factory=dict)
    limits: tuple[LimitConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    budgets: tuple[Budget, ...] = ()
    prices: tuple[PriceConfig, ...] = ()
    keys: dict[str, KeyConfig] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict, compare=False)

    def blob_place(self) -> str:
        """Where large values go: an absolute folder, so that a later chdir of the agent does not
        lead to another, or ``s3://bucket/prefix``."""
        if self.store.blobs.startswith("s3://"):
            return self.store.blobs
        return os.path.abspath(self.blob_folder())

    def blob_folder(self) -> Path:
        """The folder for large values, where they go into one."""
        if self.store.blobs:
            return Path(self.store.blobs)
        file = self.embedded()
        return Path(".perdure/blobs") if file is None else file.with_suffix(".blobs")

    def embedded(self) -> Path | None:
        """The file of an embedded store; None: the store is a server's."""
        if not self.store.url.startswith("sqlite:///"):
            return None
        return Path(self.store.url.removeprefix("sqlite:///"))

    def show(self) -> list[tuple[str, Any, str]]:
        """(``section.key``, value, source) of every setting; passwords are masked. Of agents and
        lists of tables, numbered from 1, what is not as by default."""
        rows: list[tuple[str, Any, str]] = []
        for section in fields(self):
            part = getattr(self, section.name)
            if is_dataclass(part):
                shown = kinds(type(part))
                for item in fields(part):
                    key = f"{section.name}.{item.name}"
                    value = plain(getattr(part, item.name), shown[item.name])
                    rows.append((key, value, self._source(key)))
        tables: list[tuple[str, Any]] = [(f"agents.{n}", agent) for n, agent in self.agents.items()]
        for name in ("limits", "routes", "budgets", "prices"):
            tables += [(f"{name}.{i}", table) for i, table in enumerate(getattr(self, name), 1)]
        for name, table in tables:
            rows += [(key, value, self._source(key)) for key, value in _said(name, table)]
        for label, key_config in self.keys.items():
            place = "env" if key_config.env else "file"
            name = f"keys.{label}.{place}"
            rows.append((name, getattr(key_config, place), self._source(name)))
        return rows

    def _source(self, key: str) -> str:
        return self.sources.get(key, "default")


def _said(name: str, table: Any) -> Iterator[tuple[str, Any]]:
    """The settings of a table that are not as by default."""
    shown = kinds(type(table))
    for item in fields(table):
        value = getattr(table, item.name)
        if value == _default(item):
            continue
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            for number, inner in enumerate(value, 1):
                yield from _said(f"{name}.{item.name}.{number}", inner)
        else:
            yield f"{name}.{item.name}", plain(value, shown[item.name])


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()

"""Settings: frozen, loaded once and handed down.

Precedence: defaults < ``perdure.toml`` < ``PERDURE_*`` variables < flags. Every value knows where
it came from (``perdure config show``). Only this package reads the environment. Durations are
written as a number of seconds or as ``500ms``, ``30s``, ``5m``, ``2h``, ``1d``; money in dollars.
"""

from __future__ import annotations

from perdure.config.credentials import KeyConfig
from perdure.config.lists import PROVIDERS, LimitConfig, PriceConfig
from perdure.config.loading import FILE, client_settings, load
from perdure.config.sections import (
    AgentConfig,
    GatewayConfig,
    LogConfig,
    ProxyConfig,
    RetentionConfig,
    ServerConfig,
    StoreConfig,
    TestingConfig,
    WorkerConfig,
)
from perdure.config.settings import Config
from perdure.config.values import NEVER, SECRET, dollars, duration, money

__all__ = [
    "FILE",
    "NEVER",
    "PROVIDERS",
    "SECRET",
    "AgentConfig",
    "Config",
    "GatewayConfig",
    "KeyConfig",
    "LimitConfig",
    "LogConfig",
    "PriceConfig",
    "ProxyConfig",
    "RetentionConfig",
    "ServerConfig",
    "StoreConfig",
    "TestingConfig",
    "WorkerConfig",
    "client_settings",
    "dollars",
    "duration",
    "load",
    "money",
]

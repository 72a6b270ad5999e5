from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from perdure.testing.simulator import ProviderSimulator, Reply, script
from tests.integration.proxy.program import Gateway, settings
from tests.running import ground

__all__ = ["Begin", "begin", "ground", "sim"]

Begin = Callable[..., Gateway]
WORDS = "The moon pulls at the sea, and the sea follows it twice a day."


@pytest.fixture
def sim() -> Iterator[ProviderSimulator]:
    with ProviderSimulator(script([Reply(WORDS, chunk=8)]), targets=("east", "west")) as made:
        yield made


@pytest.fixture
def begin(tmp_path: Path, sim: ProviderSimulator) -> Iterator[Begin]:
    """``begin(more settings)``: a proxy in front of ``sim``."""
    with ExitStack() as stack:

        def start(more: str = "", *, proxy: str = "", store: str = "") -> Gateway:
            gateway = Gateway(tmp_path, settings(sim, more, proxy), store=store)
            return stack.enter_context(gateway)

        yield start

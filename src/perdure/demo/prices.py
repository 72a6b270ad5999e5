"""List prices of the models that the demo may run with.

Source: the models' pages at https://platform.claude.com/docs (table "Price / MTok"), which agree
with the data of the package genai-prices 0.2.3; looked up on 2026-11-21. US dollars per million
tokens, without caching, batches or prompts of over 100,000 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "platform.claude.com/docs, looked up 2026-11-21"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """US dollars."""
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


PRICES = {
    "claude-haiku-5-5": Price(0.10, 0.50),
    "claude-sonnet-5-5": Price(2.00, 10.00),
    "claude-opus-5-5": Price(4.00, 20.00),
    "claude-fable-5-1": Price(10.00, 50.00),
    "claude-opus-5": Price(5.00, 25.00),
    "claude-sonnet-5": Price(2.00, 10.00),
    "claude-haiku-4-5": Price(1.00, 5.00),
}


def price_of(model: str) -> Price | None:
    """The list price of ``provider:model``, or None where it is not known here."""
    return PRICES.get(model.rpartition(":")[2])

"""Agents that know nothing of limits: real SDKs, prompts and bounds as their input says."""

from __future__ import annotations

from functools import cache
from typing import Any

import anthropic
import openai

from perdure import App
from tests.quota.lanes import KINDS, LIMITS

WORDS = "tides "


@cache
def claude() -> anthropic.AsyncAnthropic:
    """One client of a process, made when its settings are there."""
    return anthropic.AsyncAnthropic(max_retries=0, timeout=600)


@cache
def chat() -> openai.AsyncOpenAI:
    """The same."""
    return openai.AsyncOpenAI(max_retries=0, timeout=600)


def prompt(number: int, given: dict[str, Any]) -> Any:
    """``words`` tokens, four bytes each."""
    text = f"{given['name']}, {number}: " + WORDS * (given["words"] * 4 // len(WORDS))
    return [{"role": "user", "content": text}]


async def ask_anthropic(given: dict[str, Any]) -> int:
    done = 0
    for number, call in enumerate(given["calls"]):
        asked = prompt(number, {**given, **call})
        model = given["model"]
        if call["stream"]:
            async with claude().messages.stream(
                model=model, max_tokens=call["most"], messages=asked
            ) as stream:
                done += bool("".join([piece async for piece in stream.text_stream]))
        else:
            answer = await claude().messages.create(
                model=model, max_tokens=call["most"], messages=asked
            )
            done += answer.usage.output_tokens > 0
    return done


async def ask_openai(given: dict[str, Any]) -> int:
    done = 0
    for number, call in enumerate(given["calls"]):
        answer: Any = await chat().chat.completions.create(
            model=given["model"],
            max_tokens=call["most"],
            messages=prompt(number, {**given, **call}),
            stream=call["stream"],
        )
        if call["stream"]:
            done += any([chunk.choices async for chunk in answer])
        else:
            done += bool(answer.choices[0].message.content)
    return done


async def spend(given: dict[str, Any]) -> str:
    """One call; what became of it."""
    try:
        await claude().messages.create(
            model="money", max_tokens=given["most"], messages=prompt(0, given)
        )
    except anthropic.APIStatusError as error:
        return str(error.status_code)
    return "ok"


app = App()
for kind in KINDS:
    for limit, (_, provider) in LIMITS.items():
        agent = ask_openai if provider == "openai" else ask_anthropic
        app.add(agent, name=f"{kind}-{limit}")
app.add(spend)

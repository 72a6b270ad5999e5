"""An agent in plain Python: a function that calls a model and a tool until it has an answer."""

import anthropic

import perdure

MODEL = "claude-sonnet-5-5"
TOOLS = [
    {
        "name": "weather",
        "description": "Today's weather in a city.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
]


@perdure.tool(effect="reads")
async def weather(city: str) -> str:
    """Today's weather in a city."""
    return f"It rains in {city}."  # ask your own service here


async def agent(question: str) -> str:
    """Answers questions about the weather."""
    client = anthropic.AsyncAnthropic()
    messages = [{"role": "user", "content": question}]
    while True:
        said = await client.messages.create(
            model=MODEL, max_tokens=1000, tools=TOOLS, messages=messages
        )
        wanted = [block for block in said.content if block.type == "tool_use"]
        if not wanted:
            return "".join(block.text for block in said.content if block.type == "text")
        results = [
            {"type": "tool_result", "tool_use_id": one.id, "content": await weather(**one.input)}
            for one in wanted
        ]
        messages.append({"role": "assistant", "content": said.content})
        messages.append({"role": "user", "content": results})

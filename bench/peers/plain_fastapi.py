"""The function behind plain FastAPI, on the uvicorn that Perdure uses, with the same settings.

python -m bench.peers.plain_fastapi PORT
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import Body, FastAPI

app = FastAPI()


async def echo(text: str) -> str:
    return text


@app.post("/echo")
async def route(input: str = Body(embed=True)) -> dict[str, str]:
    return {"result": await echo(input)}


if __name__ == "__main__":
    # uvicorn binds itself: only so its sockets send small packets at once.
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", log_config=None,
        access_log=False,
    )  # fmt: skip

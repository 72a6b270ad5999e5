"""Agents in a FastAPI app of one's own, behind its own login.

    uvicorn fastapi_app:api

FastAPI's dependencies guard everything under /agents; the app's own routes start runs without a way
over the network. Kill it in the middle of a run, start it again: the run goes on.
"""

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.requests import HTTPConnection

import perdure
from perdure.server.fastapi import Caller, router

USERS = {"let-me-in": "ada"}

agents = perdure.App()


@perdure.step
async def pack(item: str) -> str:
    return f"packed {item}"


@agents.agent
async def ship(items: list[str]) -> str:
    """Packs each item, then waits until somebody says that the truck is there."""
    packed = [await pack(item) for item in items]
    truck = await perdure.wait_for("truck")
    return f"{len(packed)} on {truck['number']}"


def login(connection: HTTPConnection, x_token: str = Header(default="")) -> None:
    """The app's own way to know who calls."""
    if x_token not in USERS:
        raise HTTPException(401, "Who are you?")
    connection.state.user = USERS[x_token]


def who(connection: HTTPConnection) -> Caller:
    """Tells Perdure, which then asks for no key of its own."""
    return Caller(name=connection.state.user)


api = FastAPI()
served = agents.asgi(identify=who)
api.include_router(router(served), prefix="/agents", dependencies=[Depends(login)])


@api.post("/orders/{order}", status_code=202)
async def order(order: str, items: list[str]) -> dict[str, str]:
    """A route of the app's own. The same order twice starts one run."""
    async with served.client() as client:
        run = await client.start("ship", items, idempotency_key=f"order-{order}")
    return {"run": run.id}

"""Restate: its server as installed from npm (a single node with its own log on disk), a service
process on hypercorn, invocations over the HTTP ingress from this process, as many at a time as the
task says.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import httpx
import restate

from bench.peers.task import Task, answer, given

IDLE_S = (0.005, 0.025)
SERVER = "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server"

ticking = restate.Service("ticking", journal_retention=timedelta(hours=1))


async def tick(n: int) -> dict[str, int]:
    return {"n": n, "twice": n * 2}


@ticking.handler()
async def ticks(ctx: restate.Context, n: int) -> int:
    total = 0
    for i in range(n):
        total += (await ctx.run_typed("tick", tick, restate.RunOptions(), n=i))["n"]
    return total


@ticking.handler()
async def noop(ctx: restate.Context, n: int) -> int:
    return n


app = restate.app(services=[ticking])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Cluster:
    """The server and the service's process."""

    def __init__(self, folder: str) -> None:
        self.ingress, self.admin, node, service = (free_port() for _ in range(4))
        # The virtual environment's own program, wherever its interpreter's link leads.
        program = Path(sys.prefix) / "node" / SERVER
        self._server = subprocess.Popen(
            [str(program), "--base-dir", f"{folder}/restate", "--no-logo"],
            env={
                **os.environ,
                "DO_NOT_TRACK": "1",
                "RESTATE_BIND_IP": "127.0.0.1",
                "RESTATE_BIND_PORT": str(node),
                "RESTATE_LISTEN_MODE": "tcp",
                "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{self.ingress}",
                "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{self.admin}",
                "RESTATE_LOG_FILTER": "error",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._service = subprocess.Popen(
            [
                *(sys.executable, "-m", "hypercorn", "bench.peers.restate:app"),
                *("--bind", f"127.0.0.1:{service}", "--log-level", "ERROR"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._address = f"http://127.0.0.1:{service}"

    async def ready(self, client: httpx.AsyncClient) -> None:
        """Register the service as soon as both are up. Raises TimeoutError."""
        async with asyncio.timeout(60):
            while True:
                try:
                    said = await client.post(
                        f"http://127.0.0.1:{self.admin}/deployments",
                        json={"uri": self._address, "use_http_11": False},
                        timeout=10,
                    )
                    if said.is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        for process in (self._service, self._server):
            process.terminate()
            process.wait()


async def main(task: Task) -> None:
    cluster = Cluster(task.folder)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=120) as client:
        try:
            await cluster.ready(client)

            async def call(handler: str, n: int) -> int:
                said = await client.post(
                    f"http://127.0.0.1:{cluster.ingress}/ticking/{handler}", json=n
                )
                said.raise_for_status()
                value: int = said.json()
                return value

            async def many(runs: int, steps: int) -> float:
                room = asyncio.Semaphore(task.at_once)

                async def one() -> None:
                    async with room:
                        if await call("ticks", steps) != steps * (steps - 1) // 2:
                            raise RuntimeError("another result")

                begun = time.perf_counter()
                async with asyncio.TaskGroup() as group:
                    for _ in range(runs):
                        group.create_task(one())
                return time.perf_counter() - begun

            if task.job == "steps":
                await many(min(task.at_once, task.runs), task.steps)
                taken = await many(task.runs, task.steps)
                answer(rate=task.effects / taken, how="server 1.7, hypercorn, HTTP/2")
            else:
                times: list[float] = []
                for n in range(task.runs + 20):
                    await asyncio.sleep(random.uniform(*IDLE_S))
                    begun = time.perf_counter()
                    await call("noop", n)
                    times.append(time.perf_counter() - begun)
                answer(times=times[20:], how="server 1.7, hypercorn, HTTP/2")
        finally:
            cluster.stop()


if __name__ == "__main__":
    asyncio.run(main(given()))

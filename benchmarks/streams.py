"""`make bench-streams`: measures POST /tasks beside hundreds of open event streams; needs wrk (apt install wrk).

Rounds without streams, beside silent ones and beside ones with events alternate in one run: requests a second, how
soon an event arrives, and how much memory a stream takes. The figures go to benchmarks/streams.md.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median, quantiles
from tempfile import NamedTemporaryFile
from urllib.request import Request, urlopen

from measure import Server, machine, memory_mib, redis_server, table, wait, workers
from serving import ADDRESS, POST, PROCESSES, ROOT, answers, load, project

from taskqueue.programs.redis_server import free_port
from taskqueue.store.keys import Field
from taskqueue.tasks.changes import publish_change

STREAMS = 500
EVENTS = 100  # a second, each to one of the streams
SECONDS = 6
ROUNDS = 5


class Streams:
    """Open event streams, one for each task, and the delays of their events."""

    def __init__(self, port: int, ids: list[str]) -> None:
        self._port = port
        self._ids = ids
        self._opened = 0
        self.delays: list[float] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep all streams open until the block ends."""
        self._opened = 0
        following = [asyncio.create_task(self._follow(task_id)) for task_id in self._ids]
        while self._opened < len(self._ids):
            await asyncio.sleep(0.05)
            if broken := next((stream for stream in following if stream.done()), None):
                raise SystemExit(f"a stream ended: {broken.exception()!r}")
        yield
        for stream in following:
            stream.cancel()
        await asyncio.gather(*following, return_exceptions=True)

    async def _follow(self, task_id: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            kind, is_open = b"", False
            while line := await reader.readline():
                received_at = time.time()
                if line.startswith(b"event: "):
                    kind = line.split()[1]
                elif line.startswith(b"data: ") and kind == b"status":
                    self._opened, is_open = self._opened + 1, True
                elif line.startswith(b"data: ") and is_open:  # earlier data is from before the stream
                    self.delays.append(received_at - float(json.loads(line[6:])["progress"]["message"]))
        finally:
            writer.close()


async def send_progress(server: Server, ids: list[str], seconds: float) -> None:
    """Do what progress() in a job does, for random tasks."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        task_id = random.choice(ids)
        progress = {"done": 1, "total": None, "message": repr(time.time()), "at": ""}
        with server.connection.pipeline(transaction=False) as pipeline:
            pipeline.hset(f"rq:job:{task_id}", Field.PROGRESS, json.dumps(progress))
            publish_change(pipeline, task_id, "progress")
            pipeline.execute()
        await asyncio.sleep(1 / EVENTS)


def tasks(address: str) -> list[str]:
    """Queue a task for each stream and return the ids. The tasks stay queued, since no worker runs."""
    body = json.dumps([{"task_type": "noop", "payload": {}}] * STREAMS).encode()
    with urlopen(Request(f"{address}/tasks/bulk", body, {"Content-Type": "application/json"})) as answer:
        return [task["id"] for task in json.load(answer)["results"]]


async def measure(server: Server) -> str:
    """Measure everything, and return benchmarks/streams.md."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    alone, silent, beside, memory = [], [], [], []
    with (
        workers([project(port)], server) as pids,
        NamedTemporaryFile("w", suffix=".lua") as script,
    ):
        script.write(POST)
        script.flush()
        wait(lambda: answers(address + ADDRESS), 20)
        await asyncio.to_thread(load, address + ADDRESS, script.name, 2)
        ids = await asyncio.to_thread(tasks, address)
        streams = Streams(port, ids)
        for _ in range(ROUNDS):
            alone.append(await asyncio.to_thread(load, address + ADDRESS, script.name, SECONDS))
            before = memory_mib(pids)
            async with streams.opened():
                memory.append((memory_mib(pids) - before) * 1024 / STREAMS)
                silent.append(await asyncio.to_thread(load, address + ADDRESS, script.name, SECONDS))
                sending = asyncio.create_task(send_progress(server, ids, SECONDS))
                beside.append(await asyncio.to_thread(load, address + ADDRESS, script.name, SECONDS))
                await sending
    return page(machine(server), alone, silent, beside, streams.delays, memory)


def page(
    where: str,
    alone: list[dict[str, float]],
    silent: list[dict[str, float]],
    beside: list[dict[str, float]],
    delays: list[float],
    memory: list[float],
) -> str:
    """Return the figures as Markdown."""
    cuts = quantiles(delays, n=100)
    rows = [
        [name, *(f"{median(figures[key] for figures in rounds):,.1f}" for key in ("rate", "p50", "p99"))]
        for name, rounds in (
            ("without streams", alone),
            (f"beside {STREAMS} streams that are silent", silent),
            (f"beside {STREAMS} streams, {EVENTS} events a second", beside),
        )
    ]
    return "\n".join(
        [
            f"# {STREAMS} open event streams",
            "",
            f"{where}. Written by `make bench-streams`, all in one run, {ROUNDS} rounds.",
            "",
            table([f"POST /tasks, {PROCESSES} web processes", "requests/s", "p50, ms", "p99, ms"], rows),
            "",
            f"Beside silent streams POST /tasks keeps **{kept(silent, alone):.2f}** of its rate, with {EVENTS}"
            f" events a second **{kept(beside, alone):.2f}**. An event, from Redis to the client:"
            f" p50 **{cuts[49] * 1000:.0f} ms**, p99 **{cuts[98] * 1000:.0f} ms** ({len(delays):,} events)."
            f" A stream takes **{max(memory):.0f} KiB**.",
            "",
        ]
    )


def kept(beside: list[dict[str, float]], alone: list[dict[str, float]]) -> float:
    """Return the median of the rounds' ratios of the rates."""
    return median(there["rate"] / here["rate"] for there, here in zip(beside, alone, strict=True))


def main() -> None:
    """Measure, print, and write benchmarks/streams.md."""
    with redis_server() as server:
        text = asyncio.run(measure(server))
    (ROOT / "benchmarks" / "streams.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

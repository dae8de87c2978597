"""Measures what a submission costs the program that submits: writes submitting.md.

Each system submits the same small task to the same Redis, one after another: microseconds for each task, of the
wall clock and of the program's processor, and the round trips to Redis, counted by a proxy in between.
"""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from measure import Server, machine, redis_server, table
from systems import APPS, PEERS, PROJECT, System, environment, install

COUNT, COUNTED = 3_000, 200
RUNS, ROW_SECONDS = 5, 12.0  # no run begins later, so that all rows take four minutes at most
NAMES = ("ours", "rq_app", "celery_app", "huey_app", "arq_app")
WAYS = {
    "ours": ("sync", "async", "async, 50 at a time", "batch"),
    "arq_app": ("async", "async, 50 at a time"),
}


class CountingProxy:
    """A TCP proxy before Redis that counts how often a client sends after it has received."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.turns = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                waits = threading.Event()  # the client has sent, and has received nothing since
                for ends, is_client in (((client, server), True), ((server, client), False)):
                    threading.Thread(target=self._carry, args=(*ends, waits, is_client), daemon=True).start()

    def _carry(
        self, source: socket.socket, target: socket.socket, waits: threading.Event, is_client: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 20):
                if not is_client:
                    waits.clear()
                elif not waits.is_set():
                    waits.set()
                    self.turns += 1
                target.sendall(data)
            target.close()


@contextmanager
def counting(server: Server) -> Iterator[tuple[Server, CountingProxy]]:
    """Yield a server whose connections are counted."""
    port = server.connection.connection_pool.connection_kwargs["port"]
    proxy = CountingProxy(port)
    yield Server(proxy.port), proxy


def submit(system: System, way: str, server: Server, count: int) -> dict[str, float]:
    """Submit tasks in a program of the system's own; return what each has cost."""
    program = [system.drive()[0], str(APPS / "submit.py"), system.app, way, str(count)]
    done = subprocess.run(program, cwd=APPS, env=environment(server.url), check=True, capture_output=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def row(system: System, way: str, server: Server) -> list[str]:
    """Measure one way to submit: the best of five runs, fewer on a slow machine, and its round trips."""
    runs: list[dict[str, float]] = []
    end = time.monotonic() + ROW_SECONDS
    while len(runs) < RUNS and time.monotonic() < end:
        server.connection.flushall()
        runs.append(submit(system, way, server, COUNT))
    best = min(runs, key=lambda run: run["wall_us"])
    with counting(server) as (counted, proxy):
        submit(system, way, counted, COUNTED)
        before, proxy.turns = proxy.turns, 0
        submit(system, way, counted, 2 * COUNTED)
    turns = (proxy.turns - before) / COUNTED
    print(system.name, way, best, turns, flush=True)
    shown = "< 0.1" if turns < 0.1 else f"{turns:.2g}"  # connections that are made count, too
    return [f"{system.name}, {way}", f"{best['wall_us']:.0f}", f"{best['cpu_us']:.0f}", shown]


def main() -> None:
    """Measure all systems that can be installed."""
    systems: Sequence[System] = (replace(PROJECT, name="this project"), *PEERS)
    with redis_server() as server:
        rows = [
            row(replace(system, name="RQ" if system.app == "rq_app" else system.name), way, server)
            for system in systems
            if system.app in NAMES and "Simple" not in system.name and install(system)
            for way in WAYS.get(system.app, ("sync",))
        ]
        page = [
            "# What it costs to submit a task",
            f"Made by `make bench-submit`. {machine(server)}; the best of {RUNS} runs of"
            f" {COUNT:,} tasks. A batch is one transaction.",
            table(["", "µs a task", "of them processor", "round trips a task"], rows),
        ]
    Path(__file__).with_name("submitting.md").write_text("\n\n".join(page) + "\n")
    print("\n\n".join(page))


if __name__ == "__main__":
    main()

"""Workers as processes, a proxy that loses answers, and the registries that hold a task."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from redis import Redis
from rq import Queue

from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import START_SECONDS, RedisServer, wait_until

STOP_SECONDS = 40  # more than the default grace time


class RunningWorker:
    """A real worker process, and its log."""

    def __init__(self, project: Path, log: Path, url: str, *options: str, **variables: str) -> None:
        self._log = log
        with log.open("a") as out:
            self.process = subprocess.Popen(
                [sys.executable, "worker.py", "--horses", "1", *options],
                cwd=project,
                env=os.environ | {"TASK_QUEUE_URL": url} | variables,
                stderr=out,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def wait_until_it_works(self) -> None:
        wait_until(lambda: "works on" in self.log and self.horses(), what="the worker")

    def wait_for_line(self, text: str, count: int = 1) -> None:
        """Wait until the log has this text so many times: a worker logs an end after Redis has stored it."""
        wait_until(lambda: self.log.count(text) >= count, what=f"the log to say {text!r}")

    def horses(self) -> list[int]:
        with suppress(OSError):
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            return [int(pid) for pid in children.read_text().split()]
        return []

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker and its horses: as when its whole machine is frozen."""
        for pid in (self.process.pid, *self.horses()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        stop_workers([self])


def stop_workers(workers: Iterable[RunningWorker]) -> None:
    """Stop workers side by side, frozen ones too."""
    running = [worker for worker in workers if worker.lives]
    for worker in running:
        worker.send_signal(signal.SIGCONT)
        worker.process.terminate()
    for worker in running:
        worker.process.wait(STOP_SECONDS)


class Proxy:
    """A TCP proxy before Redis that can cut a connection between a command and its answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.loses: Callable[[bytes], bool] = lambda command: False
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        """Pass data both ways; to lose the answer of a command, close both ends when Redis has the command."""
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as server:
            while True:
                with selectors.DefaultSelector() as selector:
                    for end in (client, server):
                        selector.register(end, selectors.EVENT_READ)
                    ready = [key.fileobj for key, _ in selector.select()]
                for source in ready:
                    content = source.recv(1 << 20)
                    if not content:
                        return
                    lost = source is client and self.loses(content)
                    (server if source is client else client).sendall(content)
                    if lost:
                        server.recv(1)  # Redis has executed the command
                        self.lost += 1
                        return

    def close(self) -> None:
        self._listener.close()


def emptied(server: RedisServer) -> RedisServer:
    """Remove all data of a Redis, and return it."""
    with Redis.from_url(server.url) as connection:
        connection.flushall()
    return server


def until(queue: TaskQueue, task_id: str, *statuses: str, seconds: float = START_SECONDS) -> float:
    """Wait for a task to have one of these statuses; return how many seconds it took."""
    began = time.monotonic()
    wait_until(lambda: queue.get(task_id).status in statuses, seconds, what=f"the task to be {statuses}")
    return time.monotonic() - began


def until_it_runs(redis: Redis, task_id: str) -> None:
    """Wait until the function of a job that counts its runs has begun: a claimed job is `processing` before."""
    wait_until(lambda: redis.exists(f"test:runs:{task_id}"), what="the job to run")


def places_of(redis: Redis, *task_ids: str) -> Mapping[str, list[str]]:
    """Return the lists and registries that hold each task; more than one, or none, is a fault."""
    found: dict[str, list[str]] = {task_id: [] for task_id in task_ids}
    for queue in Queue.all(connection=redis):
        standing = {"queued": redis.lrange(queue.key, 0, -1)}
        for name in ("wip", "finished", "failed", "scheduled", "deferred", "canceled"):
            standing[name] = redis.zrange(f"rq:{name}:{queue.name}", 0, -1)
        for name, members in standing.items():
            for member in members:
                task_id = member.decode().partition(":")[0]
                if task_id in found:
                    found[task_id].append(name)
    return found


def registries_of(redis: Redis, task_id: str) -> list[str]:
    """Return the lists and registries that hold one task."""
    return places_of(redis, task_id)[task_id]


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; it may still be a zombie that waits for its parent."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True

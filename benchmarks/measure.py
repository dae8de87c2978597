"""Measures workers on a Redis of the benchmark's own: throughput, latency, memory and processor time."""

import json
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import redis
from redis import Redis
from redis.exceptions import RedisError
from systems import APPS, System, environment

from taskqueue.programs.redis_server import free_port, redis_command

WARM_UP = 0.2  # of the jobs, before the clock starts, so that start-up is not measured
LIMIT_SECONDS = 180
STOP_SECONDS = 20
FEW_JOBS = 200
SETTLE_SECONDS = 2  # after a worker's last job, before it counts as idle
NOTHING_MORE: Mapping[str, str] = MappingProxyType({})
TICK = os.sysconf("SC_CLK_TCK")

Measure = Callable[["Server"], Any]  # one part of a benchmark


class Server:
    """The benchmark's Redis, append-only as in production."""

    def __init__(self, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self.connection = Redis(port=port)

    def cpu_seconds(self) -> float:
        """Return the processor time that Redis has used so far."""
        cpu = self.connection.info("cpu")
        return float(cpu["used_cpu_sys"] + cpu["used_cpu_user"])


@contextmanager
def redis_server(program: Path | None = None) -> Iterator[Server]:
    """Start a Redis with its data in a temporary folder; stop it afterwards. `program`: else the installed one."""
    port = free_port()
    with TemporaryDirectory() as folder:
        command = redis_command(port, Path(folder))
        process = subprocess.Popen([program or command[0], *command[1:]], stdout=subprocess.DEVNULL)
        server = Server(port)
        try:
            wait(lambda: _answers(server.connection), 10)
            yield server
        finally:
            process.terminate()
            process.wait()


def _answers(connection: Redis) -> bool:
    try:
        return bool(connection.ping())
    except RedisError:
        return False


@contextmanager
def workers(
    commands: Sequence[list[str]], server: Server, more: Mapping[str, str] = NOTHING_MORE
) -> Iterator[list[int]]:
    """Run these command lines meanwhile, with `more` in their environment; yield their process ids."""
    started = [
        subprocess.Popen(
            command,
            cwd=APPS,
            env=environment(server.url) | dict(more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands
    ]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def enqueue(system: System, count: int, server: Server) -> None:
    """Queue `count` no-op jobs on an empty Redis."""
    server.connection.flushall()
    subprocess.run(
        system.drive("noops", str(count)), cwd=APPS, env=environment(server.url), check=True, timeout=LIMIT_SECONDS
    )


def waiting(system: System, server: Server) -> int:
    """Return how many jobs wait in the system's queue."""
    match server.connection.type(system.queue):
        case b"zset":
            return int(server.connection.zcard(system.queue))
        case b"list":
            return int(server.connection.llen(system.queue))
    return 0


def left(system: System, jobs: int, server: Server) -> int:
    """Return how many of these jobs have not ended; of a system that keeps no list of them, how many wait."""
    return jobs - int(server.connection.zcard(system.ended)) if system.ended else waiting(system, server)


class Drain(NamedTuple):
    """The throughput of the workers."""

    rate: float  # jobs a second
    redis_us: float  # microseconds of Redis's processor for each job


def drain(system: System, commands: Sequence[list[str]], server: Server, *, jobs: int, leave: int = 0) -> Drain:
    """Queue `jobs` jobs, let the workers warm up, and measure until only `leave` are left."""
    enqueue(system, jobs, server)
    with workers(commands, server):
        wait(lambda: left(system, jobs, server) <= leave + (jobs - leave) * (1 - WARM_UP))
        before, cpu, began = left(system, jobs, server), server.cpu_seconds(), time.monotonic()
        wait(lambda: left(system, jobs, server) <= leave)
        done, seconds = before - left(system, jobs, server), time.monotonic() - began
        return Drain(done / seconds, (server.cpu_seconds() - cpu) / done * 1e6)


class Latency(NamedTuple):
    """The time from the call that queues a job to the job's first line, in milliseconds, with an idle worker."""

    p50: float
    p99: float
    count: int


class Idle(NamedTuple):
    """The cost of a worker that has run jobs and has nothing to do."""

    memory_mib: float  # PSS: memory that processes share is divided among them
    cpu_percent: float  # of a core


def latency(
    system: System, command: list[str], server: Server, seconds: float, more: Mapping[str, str] = NOTHING_MORE
) -> Latency:
    """Queue one job after another for one idle worker, for `seconds`. `more`: settings of the worker."""
    server.connection.flushall()
    with workers([command], server, more):
        driver = subprocess.run(
            system.drive("latency", str(seconds)),
            cwd=APPS,
            env=environment(server.url),
            check=True,
            capture_output=True,
            timeout=LIMIT_SECONDS,
        )
    delays = sorted(json.loads(driver.stdout))
    cuts = quantiles(delays, n=100) if len(delays) > 1 else delays * 99
    return Latency(cuts[49] * 1000, cuts[98] * 1000, len(delays))


def idle(system: System, commands: Sequence[list[str]], server: Server, seconds: float = 5) -> Idle:
    """Measure these workers together when they have run a few jobs each."""
    enqueue(system, FEW_JOBS, server)
    with workers(commands, server) as pids:
        wait(lambda: waiting(system, server) == 0)
        time.sleep(SETTLE_SECONDS)
        before, began = cpu_seconds(pids), time.monotonic()
        time.sleep(seconds)
        after = cpu_seconds(pids)
        # A process that has ended meanwhile reports nothing: it counts neither before nor after.
        busy = sum(used - before.get(pid, 0.0) for pid, used in after.items())
        return Idle(memory_mib(pids), busy / (time.monotonic() - began) * 100)


def memory_mib(pids: Sequence[int]) -> float:
    """Return the PSS of these processes and all their descendants."""
    kib = 0
    for pid in family(pids):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return kib / 1024


def cpu_seconds(pids: Sequence[int]) -> dict[int, float]:
    """Return the processor time of each of these processes and their descendants, by process id."""
    used = {}
    for pid in family(pids):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used[pid] = (int(fields[11]) + int(fields[12])) / TICK
    return used


def family(pids: Sequence[int]) -> list[int]:
    """Return these processes and all their descendants."""
    processes = list(pids)
    for pid in processes:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            processes += map(int, children.read_text().split())
    return processes


def wait(condition: Callable[[], bool], seconds: float = LIMIT_SECONDS) -> None:
    """Return when `condition` is true. Raises TimeoutError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} seconds")
        time.sleep(0.002)


def machine(server: Server) -> str:
    """Return a sentence about the machine and the software of this measurement."""
    version = server.connection.info("server")["redis_version"]
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, Redis {version} beside (append-only on),"
        f" redis-py {redis.__version__}"
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; all but the first column are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def run(
    results: Path, measures: Mapping[str, Measure], parts: Sequence[str], report: Callable[[Any], str]
) -> bool:
    """Measure the named parts, or all, and write `results`.json and .md. Return whether every part has figures.

    A part that is not named keeps the figures of its last run.
    """
    if set(parts) - measures.keys():
        raise SystemExit(f"name the parts to measure, or none for all: {', '.join(measures)}")
    file = results.with_suffix(".json")
    figures = json.loads(file.read_text()) if file.exists() else {}
    with redis_server() as server:
        figures["machine"] = machine(server)
        for part in parts or measures:
            figures[part] = measures[part](server)
            file.write_text(json.dumps(figures, indent=1) + "\n")
    if measures.keys() - figures.keys():
        return False
    page = report(figures)
    results.with_suffix(".md").write_text(page)
    print(f"\n{page}")
    return True

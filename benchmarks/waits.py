"""Measures jobs that wait 100 ms, as emails and webhooks do: one worker of this project beside its peers.

Each peer runs as many jobs at once as ours, in one process and in two, and its better figure counts. What has
ended counts, not what was taken. The figures go to benchmarks/waits.md, waits.json and waits.svg.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from measure import LIMIT_SECONDS, Server, memory_mib, run, table, wait, workers
from systems import APPS, AS_IT_COMES, PEERS, PLOT, ROOT, System, environment, install

RESULTS = ROOT / "benchmarks" / "waits"
LANES = (100, 500)
SECONDS = 5  # of work for a system that reaches 2,500 jobs a second
MEASURE_SECONDS = 4  # at most, of a slower one
WARM_UP, END = 0.2, 0.95  # of the jobs: what is measured lies between; at the very end fewer run at once
PATIENCE_SECONDS = 60  # for the warm-up
LIMIT = 0.1  # seconds that each job waits


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A system, and how its worker is told how many jobs to run at once."""

    system: System
    kind: str = "waits"  # waits, or naps: see apps/drive.py
    lanes: tuple[str, ...] = ()  # options of its worker; {} is the number
    processes: tuple[int, ...] = (1, 2)


def _peer(name: str) -> System:
    return next(system for system in PEERS if system.name == name)


CELERY = _peer("Celery prefork")
CONTENDERS = (
    Contender(
        system=replace(AS_IT_COMES, name="this project, coroutines"), lanes=("--io-slots", "{}"), processes=(1,)
    ),
    Contender(
        system=replace(AS_IT_COMES, name="this project, functions"),
        kind="naps",
        lanes=("--io-slots", "{}"),
        processes=(1,),
    ),
    Contender(system=_peer("arq")),
    Contender(system=_peer("SAQ")),
    Contender(system=_peer("taskiq"), lanes=("--max-async-tasks", "{}")),
    Contender(
        system=replace(
            CELERY,
            name="Celery, threads",
            worker=("celery", "-A", "celery_app", "worker", "-P", "threads", "-l", "error", "--without-mingle"),
        ),
        lanes=("-c", "{}"),
    ),
    Contender(
        system=replace(
            CELERY,
            name="Celery, gevent",
            app="celery_app",
            worker=("celery", "-A", "celery_app", "worker", "-P", "gevent", "-l", "error", "--without-mingle"),
            packages=("celery[redis]", "gevent"),
            folder="celery_gevent",
        ),
        lanes=("-c", "{}"),
    ),
    Contender(
        system=replace(
            _peer("Dramatiq"), name="Dramatiq, threads", worker=("dramatiq", "dramatiq_app", "-p", "1")
        ),
        lanes=("-t", "{}"),
    ),
    Contender(
        system=replace(
            _peer("Huey"),
            name="Huey, threads",
            worker=("huey_consumer", "huey_app.huey", "-k", "thread", "-q", "-n"),
        ),
        lanes=("-w", "{}"),
    ),
)


class Figures(NamedTuple):
    """What was measured of one system."""

    rate: float  # jobs a second
    memory_mib: float  # of all its processes together
    processes: int


def measure(contender: Contender, lanes: int, processes: int, server: Server) -> Figures:
    """Queue jobs, let the worker warm up, and measure until almost all have ended."""
    system, jobs = contender.system, round(min(lanes / LIMIT, 2500) * SECONDS)
    with TemporaryDirectory() as folder:
        ended = Path(folder) / "ended"
        ended.touch()
        env = environment(server.url) | {"BENCH_ENDED": str(ended), "BENCH_LANES": str(lanes // processes)}
        server.connection.flushall()
        drive = system.drive(contender.kind, str(jobs))
        subprocess.run(drive, cwd=APPS, env=env, check=True, timeout=LIMIT_SECONDS)
        command = system.command(*(option.format(lanes // processes) for option in contender.lanes))
        os.environ |= {name: env[name] for name in ("BENCH_ENDED", "BENCH_LANES")}
        with workers([command] * processes, server) as pids:
            wait(lambda: ended.stat().st_size >= jobs * WARM_UP, PATIENCE_SECONDS)
            before, began = ended.stat().st_size, time.monotonic()
            _wait_until(lambda: ended.stat().st_size >= jobs * 0.6, began + MEASURE_SECONDS / 2)
            memory = memory_mib(pids)
            _wait_until(lambda: ended.stat().st_size >= jobs * END, began + MEASURE_SECONDS)
            return Figures((ended.stat().st_size - before) / (time.monotonic() - began), memory, processes)


def _wait_until(condition: Callable[[], bool], end: float) -> None:
    """Return when `condition` is true, or at `end` of the monotonic clock."""
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)


def beside_peers(server: Server) -> dict[str, dict[str, dict[str, float]]]:
    """Measure each system with each number of jobs at once."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    print(f"Jobs that wait: about 6 minutes for {len(CONTENDERS)} systems", flush=True)
    for contender in CONTENDERS:
        if not install(contender.system):
            print(f"{contender.system.name}: its packages cannot be installed; left out", flush=True)
            continue
        figures[contender.system.name] = {}
        for lanes in LANES:
            measured = []
            for processes in contender.processes:
                try:
                    measured.append(measure(contender, lanes, processes, server))
                except TimeoutError:
                    print(
                        f"{contender.system.name}: {processes} × {lanes // processes} came to no end", flush=True
                    )
            best = max(measured, default=Figures(0, 0, 0))
            figures[contender.system.name][str(lanes)] = best._asdict()
            print(
                f"{contender.system.name:<26} {lanes:>4} at once: {best.rate:>6,.0f} jobs/s"
                f" {best.memory_mib:>5.0f} MiB, {best.processes} processes",
                flush=True,
            )
    return figures


def report(results: dict[str, Any]) -> str:
    """Return benchmarks/waits.md."""
    peers = results["peers"]
    best = {
        lanes: max(figures[lanes]["rate"] for name, figures in peers.items() if "this project" not in name)
        for lanes in map(str, LANES)
    }
    ours = {
        lanes: max(figures[lanes]["rate"] for name, figures in peers.items() if "this project" in name)
        for lanes in map(str, LANES)
    }
    rows = [
        [f"**{name}**" if "this project" in name else name, *_cells(figures[str(100)]), *_cells(figures[str(500)])]
        for name, figures in peers.items()
    ]
    return "\n".join(
        [
            "# Jobs that wait",
            "",
            f"{results['machine']}. Written by `make bench`, in one run.",
            "",
            "Each job waits 100 ms. So many run at once: 100 (at most 1,000 a second can end) and 500 (5,000)."
            " Ours is one worker as it comes, with its two work-horses besides; of each peer the better of one"
            " process and of two with half as many. Memory (PSS): all processes together, under load.",
            "",
            table(["", "100: jobs/s", "MiB", "500: jobs/s", "MiB"], rows),
            "",
            f"Against the best peer: {ours['100'] / best['100']:.2f} times with 100 at once,"
            f" {ours['500'] / best['500']:.2f} times with 500.",
            "",
        ]
    )


def _cells(figures: dict[str, float]) -> Sequence[str]:
    return f"{figures['rate']:,.0f}", f"{figures['memory_mib']:.0f}"


if __name__ == "__main__":
    if run(RESULTS, {"peers": beside_peers}, sys.argv[1:], report) and install(PLOT):
        plot = ROOT / "benchmarks" / "apps" / "plot_waits.py"
        subprocess.run([PLOT.programs / "python", plot, RESULTS], check=True)

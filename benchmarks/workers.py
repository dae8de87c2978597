"""`make bench`: this project's worker beside its peers, in one run on one Redis.

The figures are those of this machine at this moment; what counts is their ratio. They go to benchmarks/results.md,
results.json and results.svg.
"""

import subprocess
import sys
from typing import Any

from measure import Server, drain, idle, latency, run, table
from systems import AS_IT_COMES, BARE_LOOP, PEERS, PLOT, PROJECT, ROOT, STOCK_RQ, install

OURS = (PROJECT.name, AS_IT_COMES.name)
RESULTS = ROOT / "benchmarks" / "results"
WORKERS = 2
LATENCY_SECONDS = 5
HORSES = (1, 2, 4, 8)
WAITING = (1_000, 10_000, 100_000, 1_000_000)


def beside_peers(server: Server) -> dict[str, dict[str, float]]:
    """Each system: drain rate, Redis's work for each job, latency, memory and processor when idle."""
    found = {}
    for system in (PROJECT, AS_IT_COMES, BARE_LOOP, *PEERS):
        if not install(system):
            print(f"{system.name}: its packages cannot be had; left out", flush=True)
            continue
        command = system.command()
        print(f"{system.name:<26} ", end="", flush=True)
        drained = drain(system, [command] * WORKERS, server, jobs=system.jobs)
        soon = latency(system, command, server, LATENCY_SECONDS)
        quiet = idle(system, [command], server)
        found[system.name] = {**drained._asdict(), **soon._asdict(), **quiet._asdict()}
        print(
            f"{drained.rate:>7,.0f} jobs/s   latency {soon.p50:7.2f} ms, p99 {soon.p99:7.2f}"
            f"   {quiet.memory_mib:5.0f} MiB   idle {quiet.cpu_percent:5.2f} %",
            flush=True,
        )
    return found


def by_horses(server: Server) -> dict[str, dict[str, float]]:
    """One worker with more and more horses."""
    found = {}
    for horses in HORSES:
        command = PROJECT.command("--horses", str(horses))
        drained = drain(PROJECT, [command], server, jobs=30_000)
        found[str(horses)] = {"rate": drained.rate, "memory_mib": idle(PROJECT, [command], server).memory_mib}
        print(
            f"{horses} horses: {drained.rate:,.0f} jobs/s, {found[str(horses)]['memory_mib']:.0f} MiB", flush=True
        )
    pair = idle(STOCK_RQ, [STOCK_RQ.command()] * 2, server)
    found["two stock workers"] = {"memory_mib": pair.memory_mib}
    return found


def by_waiting(server: Server) -> dict[str, dict[str, float]]:
    """The same worker, while more and more jobs wait."""
    found = {}
    for count in WAITING:
        leave = max(0, count - 20_000)
        drained = drain(PROJECT, [PROJECT.command()] * WORKERS, server, jobs=count, leave=leave)
        found[str(count)] = {"rate": drained.rate, "redis_us": drained.redis_us}
        print(f"{count:>9,} waiting: {drained.rate:,.0f} jobs/s", flush=True)
    return found


def report(results: dict[str, Any]) -> str:
    """The page."""
    peers, horses, waiting = results["peers"], results["horses"], results["waiting"]
    ours = peers[PROJECT.name]
    best = max(values["rate"] for name, values in peers.items() if name not in (*OURS, BARE_LOOP.name))
    return "\n".join(
        [
            "# This project's worker beside its peers",
            "",
            f"{results['machine']}. Written by `make bench`, each table in one run.",
            "",
            f"No-op jobs, {WORKERS} workers. Each runs one job at a time, but for ours as it comes (a horse for"
            " each core) and the asynchronous ones (arq, taskiq, SAQ). Drain: how fast waiting jobs are"
            " run. Latency: from the call that queues a job to its first line, one idle worker. Memory (PSS) and"
            " processor: one idle worker. Redis: its processor's time for each job.",
            "",
            table(
                [
                    "",
                    "drain, jobs/s",
                    "× ours is faster",
                    "latency p50, ms",
                    "p99, ms",
                    "memory, MiB",
                    "idle, % of a core",
                    "Redis, µs/job",
                ],
                [
                    [
                        f"**{name}**" if name in OURS else name,
                        f"{one['rate']:,.0f}",
                        f"{ours['rate'] / one['rate']:.2f}",
                        f"{one['p50']:.2f}",
                        f"{one['p99']:.2f}",
                        f"{one['memory_mib']:.0f}",
                        f"{one['cpu_percent']:.2f}",
                        f"{one['redis_us']:.0f}",
                    ]
                    for name, one in peers.items()
                ],
            ),
            "",
            f"Against the best peer: {ours['rate'] / best:.2f} times. The bare loop is no peer: it tries nothing"
            " again, and loses the job of a worker that dies.",
            "",
            "## One worker with more horses",
            "",
            table(
                ["horses", "drain, jobs/s", "memory, MiB"],
                [
                    [name, f"{one['rate']:,.0f}" if "rate" in one else "", f"{one['memory_mib']:.0f}"]
                    for name, one in horses.items()
                ],
            ),
            "",
            "## While many jobs wait",
            "",
            table(
                ["waiting", "drain, jobs/s", "Redis, µs/job"],
                [
                    [f"{int(count):,}", f"{one['rate']:,.0f}", f"{one['redis_us']:.0f}"]
                    for count, one in waiting.items()
                ],
            ),
            "",
        ]
    )


def main(parts: list[str]) -> None:
    """All parts, or those that are named."""
    measures = {"peers": beside_peers, "horses": by_horses, "waiting": by_waiting}
    if run(RESULTS, measures, parts, report) and install(PLOT):
        subprocess.run([PLOT.programs / "python", ROOT / "benchmarks" / "apps" / "plot.py", RESULTS], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])

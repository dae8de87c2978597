"""`make bench`: measures this project's worker beside its peers, in one run on one Redis.

The figures depend on the machine and its load, so look at their ratios. They go to benchmarks/results.md,
results.json and results.svg.
"""

import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median
from typing import Any

from measure import Latency, Server, drain, idle, latency, redis_server, run, table
from systems import (
    AS_IT_COMES,
    BARE_LOOP,
    PEERS,
    PLOT,
    PROJECT,
    ROOT,
    SERVERS,
    STOCK_RQ,
    System,
    install,
    server_program,
)

OURS = (PROJECT.name, AS_IT_COMES.name)
RESULTS = ROOT / "benchmarks" / "results"
WORKERS = 2
LATENCY_SECONDS = 5
LATENCY_ROUNDS = 5
PEERS_SECONDS = 2
PEERS_ROUNDS = 3
HORSES = (1, 2, 4, 8)
WAITING = (1_000, 10_000, 100_000, 1_000_000)


def beside_peers(server: Server) -> dict[str, dict[str, float]]:
    """Measure each system: throughput, Redis's time for each job, memory and processor time when idle, latency.

    The latencies are medians of rounds, in which all systems take turns: what a single pass
    finds differs by half from minute to minute.
    """
    systems: list[System] = []
    figures: dict[str, dict[str, float]] = {}
    for system in (PROJECT, AS_IT_COMES, BARE_LOOP, *PEERS):
        if not install(system):
            print(f"{system.name}: its packages cannot be installed; left out", flush=True)
            continue
        systems.append(system)
        command = system.command()
        drained = drain(system, [command] * WORKERS, server, jobs=system.jobs)
        quiet = idle(system, [command], server)
        figures[system.name] = {**drained._asdict(), **quiet._asdict()}
        print(
            f"{system.name:<26} {drained.rate:>7,.0f} jobs/s   {quiet.memory_mib:5.0f} MiB"
            f"   idle {quiet.cpu_percent:5.2f} %",
            flush=True,
        )
    rounds: dict[str, list[Latency]] = {system.name: [] for system in systems}
    for _ in range(PEERS_ROUNDS):
        for system in systems:
            rounds[system.name].append(latency(system, system.command(), server, PEERS_SECONDS))
    for name, these in rounds.items():
        figures[name] |= {"p50": median(each.p50 for each in these), "p99": median(each.p99 for each in these)}
        print(f"{name:<26} latency {figures[name]['p50']:.2f} ms, p99 {figures[name]['p99']:.2f}", flush=True)
    return figures


def by_horses(server: Server) -> dict[str, dict[str, float]]:
    """Measure one worker with more and more horses."""
    figures = {}
    for horses in HORSES:
        command = PROJECT.command("--horses", str(horses))
        drained = drain(PROJECT, [command], server, jobs=30_000)
        figures[str(horses)] = {"rate": drained.rate, "memory_mib": idle(PROJECT, [command], server).memory_mib}
        print(
            f"{horses} horses: {drained.rate:,.0f} jobs/s, {figures[str(horses)]['memory_mib']:.0f} MiB",
            flush=True,
        )
    pair = idle(STOCK_RQ, [STOCK_RQ.command()] * 2, server)
    figures["two stock workers"] = {"memory_mib": pair.memory_mib}
    return figures


def by_waiting(server: Server) -> dict[str, dict[str, float]]:
    """Measure two workers while more and more jobs wait."""
    figures = {}
    for count in WAITING:
        leave = max(0, count - 20_000)
        drained = drain(PROJECT, [PROJECT.command()] * WORKERS, server, jobs=count, leave=leave)
        figures[str(count)] = {"rate": drained.rate, "redis_us": drained.redis_us}
        print(f"{count:>9,} waiting: {drained.rate:,.0f} jobs/s", flush=True)
    return figures


def by_server(server: Server) -> dict[str, dict[str, float]]:
    """Measure the latency on several servers: ours with one and three queues, the best peer, and a bare loop.

    In each round they take turns, alone on the machine; and then all are measured at the same time, each on a
    server of its own. A machine's speed changes from second to second: so side by side tells best which one is
    faster, and alone how long it takes.
    """
    best = next(peer for peer in PEERS if peer.name == "Huey")
    measured = {
        "ours, one queue": (PROJECT, {"QUEUES": "default"}),
        "ours, three queues": (PROJECT, {"QUEUES": "high,default,low"}),
        best.name: (best, {}),
        BARE_LOOP.name: (BARE_LOOP, {}),
    }
    for system, _ in measured.values():
        install(system)

    def take(place: Server, name: str) -> Latency:
        system, settings = measured[name]
        return latency(system, system.command(), place, LATENCY_SECONDS, settings)

    alone: dict[str, list[Latency]] = defaultdict(list)
    beside: dict[str, list[Latency]] = defaultdict(list)
    ratios: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as running, ThreadPoolExecutor(len(measured)) as threads:
        servers = _servers(running, server, len(measured))
        for _ in range(LATENCY_ROUNDS):
            for on, places in servers.items():
                for name in measured:
                    alone[f"{on}: {name}"].append(take(places[0], name))
                together = dict(zip(measured, threads.map(take, places, measured), strict=True))
                for name, figures in together.items():
                    beside[f"{on}: {name}"].append(figures)
                    ratios[f"{on}: {name}"].append(figures.p50 / together[best.name].p50)
    medians = {
        name: {
            "p50": median(each.p50 for each in alone[name]),
            "p99": median(each.p99 for each in alone[name]),
            "beside_p50": median(each.p50 for each in beside[name]),
            "beside_p99": median(each.p99 for each in beside[name]),
            "ratio": median(ratios[name]),
        }
        for name in alone
    }
    for name, figures in medians.items():
        print(
            f"{name:<36} latency {figures['p50']:.2f} ms, p99 {figures['p99']:.2f};"
            f" side by side {figures['beside_p50']:.2f}, {figures['ratio']:.2f} x {best.name}",
            flush=True,
        )
    return medians


def _servers(running: ExitStack, server: Server, count: int) -> dict[str, list[Server]]:
    """Return `count` servers of each kind that can be had, by kind and version; all but `server` are started."""
    servers = {}
    for name in ("Redis 7", *SERVERS):
        places, program = [], None
        if name not in SERVERS:
            places.append(server)
        elif (program := server_program(name)) is None:
            print(f"{name}: its package cannot be installed; left out", flush=True)
            continue
        places += [running.enter_context(redis_server(program)) for _ in range(count - len(places))]
        version = places[0].connection.info("server")
        servers[f"{name.split()[0]} {version.get('valkey_version', version['redis_version'])}"] = places
    return servers


def report(results: dict[str, Any]) -> str:
    """Return benchmarks/results.md."""
    peers, horses, waiting = results["peers"], results["horses"], results["waiting"]
    servers = results["servers"]
    ours = peers[PROJECT.name]
    best = max(values["rate"] for name, values in peers.items() if name not in (*OURS, BARE_LOOP.name))
    return "\n".join(
        [
            "# This project's worker beside its peers",
            "",
            f"{results['machine']}. Written by `make bench`, each table in one run.",
            "",
            f"No-op jobs, {WORKERS} workers. Each worker runs one job at a time, except ours as it comes (a horse"
            " for each core) and the asynchronous ones (arq, taskiq, SAQ). Drain: waiting jobs run a second."
            " Latency: from the call that queues a job to its first line, with one idle worker"
            " (medians of rounds in which all take turns). Memory (PSS) and"
            " idle: one idle worker. Redis: its processor time for each job.",
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
                        f"{figures['rate']:,.0f}",
                        f"{ours['rate'] / figures['rate']:.2f}",
                        f"{figures['p50']:.2f}",
                        f"{figures['p99']:.2f}",
                        f"{figures['memory_mib']:.0f}",
                        f"{figures['cpu_percent']:.2f}",
                        f"{figures['redis_us']:.0f}",
                    ]
                    for name, figures in peers.items()
                ],
            ),
            "",
            f"Against the best peer: {ours['rate'] / best:.2f} times. The bare loop is no peer: it retries"
            " nothing, and loses the job of a worker that dies.",
            "",
            "## One worker with more horses",
            "",
            table(
                ["horses", "drain, jobs/s", "memory, MiB"],
                [
                    [name, f"{figures['rate']:,.0f}" if "rate" in figures else "", f"{figures['memory_mib']:.0f}"]
                    for name, figures in horses.items()
                ],
            ),
            "",
            "## While many jobs wait",
            "",
            table(
                ["waiting", "drain, jobs/s", "Redis, µs/job"],
                [
                    [f"{int(count):,}", f"{figures['rate']:,.0f}", f"{figures['redis_us']:.0f}"]
                    for count, figures in waiting.items()
                ],
            ),
            "",
            "## Latency on other servers",
            "",
            f"Medians of {LATENCY_ROUNDS} rounds of {LATENCY_SECONDS} seconds each, with one idle worker: alone,"
            " in turns; and side by side, all four at the same time, each on a server of its own.",
            "",
            table(
                ["", "alone p50, ms", "p99, ms", "side by side p50, ms", "p99, ms", "÷ Huey"],
                [
                    [name, *[f"{figures[key]:.2f}" for key in ("p50", "p99", "beside_p50", "beside_p99", "ratio")]]
                    for name, figures in servers.items()
                ],
            ),
            "",
        ]
    )


def main(parts: list[str]) -> None:
    """Measure the named parts, or all, and draw results.svg."""
    measures = {"peers": beside_peers, "horses": by_horses, "waiting": by_waiting, "servers": by_server}
    if run(RESULTS, measures, parts, report) and install(PLOT):
        subprocess.run([PLOT.programs / "python", ROOT / "benchmarks" / "apps" / "plot.py", RESULTS], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])

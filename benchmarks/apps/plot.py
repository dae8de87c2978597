"""Draws results.svg from results.json: `plot.py benchmarks/results`. Runs in an environment of its own."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

OURS, OTHERS = "#c0392b", "#8395a7"

name = sys.argv[1]
results = json.loads(Path(f"{name}.json").read_text())
peers = dict(sorted(results["peers"].items(), key=lambda peer: peer[1]["rate"]))
colours = [OURS if "this project" in peer else OTHERS for peer in peers]
figure, ((drain, latency), (horses, waiting)) = pyplot.subplots(2, 2, figsize=(11, 8), layout="constrained")

drain.barh(list(peers), [figures["rate"] for figures in peers.values()], color=colours)
drain.set_title("No-op jobs a second, two workers (log scale)")
drain.set_xscale("log")

latency.barh(list(peers), [figures["p50"] for figures in peers.values()], color=colours)
latency.set_title("From enqueue to start, idle worker: p50 in ms (log scale)")
latency.set_xscale("log")

counts = [count for count in results["horses"] if count.isdigit()]
horses.plot(counts, [results["horses"][count]["rate"] for count in counts], "o-", color=OURS)
horses.set_title("One worker with so many horses: jobs a second")
horses.set_ylim(bottom=0)
memory = horses.twinx()
memory.plot(counts, [results["horses"][count]["memory_mib"] for count in counts], "s--", color=OTHERS)
memory.set_ylabel("memory, MiB (dashed)")
memory.set_ylim(bottom=0)

kept = list(results["waiting"])
waiting.plot(
    [f"{int(count):,}" for count in kept], [results["waiting"][count]["rate"] for count in kept], "o-", color=OURS
)
waiting.set_title("While so many jobs wait: jobs a second")
waiting.set_ylim(bottom=0)

figure.savefig(f"{name}.svg")

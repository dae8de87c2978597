"""Draws waits.svg from waits.json: `plot_waits.py benchmarks/waits`. Runs in an environment of its own."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

OURS, OTHERS = "#c0392b", "#8395a7"

name = sys.argv[1]
peers = json.loads(Path(f"{name}.json").read_text())["peers"]
figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
for axis, lanes in zip(axes, ("100", "500"), strict=True):
    by_rate = dict(sorted(peers.items(), key=lambda peer: peer[1][lanes]["rate"]))
    rates = [figures[lanes]["rate"] for figures in by_rate.values()]
    axis.barh(list(by_rate), rates, color=[OURS if "this project" in peer else OTHERS for peer in by_rate])
    axis.set_title(f"Jobs that wait 100 ms, {lanes} at once: ended a second")

figure.savefig(f"{name}.svg")

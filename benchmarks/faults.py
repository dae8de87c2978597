"""`make faults`: runs the tests of faults five times and writes the recovery times to benchmarks/faults.md."""

import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5


def measure(figures: Path) -> None:
    """Run one round of the tests that note a figure, the slow ones too."""
    command = [sys.executable, "-m", "pytest", "--ignore", "tests/images", "-m", "slow or not slow"]
    # A failing test shows in the output, and its figure counts all the same: it was measured.
    subprocess.run(command, cwd=ROOT, env=os.environ | {"FIGURES_FILE": str(figures)}, check=False)


def table(lines: list[str]) -> str:
    """Return the figures as a table, in the order of their first appearance."""
    seconds: dict[str, list[float]] = {}
    for line in lines:
        event, value = json.loads(line)
        seconds.setdefault(event, []).append(value)
    rows = [
        f"| {event} | {statistics.median(values):.2f} | {max(values):.2f} | {len(values)} |"
        for event, values in seconds.items()
    ]
    head = ["| | median, s | worst, s | times |", "|---|---:|---:|---:|"]
    return "\n".join([*head, *rows])


def main() -> None:
    """Measure, print, and write benchmarks/faults.md."""
    with TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"
        for _ in range(ROUNDS):
            measure(figures)
        rows = table(figures.read_text().splitlines())
    about = (
        f"{os.cpu_count()} cores, Python {platform.python_version()}. Written by `make faults`."
        " A test looks every 20 ms: 0.00 means that the recovery came before its first look."
    )
    text = f"# How long the recovery from a fault takes\n\n{about}\n\n{rows}\n"
    (ROOT / "benchmarks" / "faults.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

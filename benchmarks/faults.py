"""`make faults`: the tests of faults, five times; how long each took to be mended goes to benchmarks/faults.md."""

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
    """One round: the tests that note a figure, the slow ones too."""
    command = [sys.executable, "-m", "pytest", "--ignore", "tests/images", "-m", "slow or not slow"]
    # A test that fails is seen in its output, and its figure counts: that is what was measured.
    subprocess.run(command, cwd=ROOT, env=os.environ | {"FIGURES_FILE": str(figures)}, check=False)


def table(lines: list[str]) -> str:
    """The figures as a table, in the order in which they came first."""
    seconds: dict[str, list[float]] = {}
    for line in lines:
        what, value = json.loads(line)
        seconds.setdefault(what, []).append(value)
    rows = [
        f"| {what} | {statistics.median(values):.2f} | {max(values):.2f} | {len(values)} |"
        for what, values in seconds.items()
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
        " What is done before a test looks again (every 20 ms) reads 0.00."
    )
    text = f"# How long until a fault is mended\n\n{about}\n\n{rows}\n"
    (ROOT / "benchmarks" / "faults.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

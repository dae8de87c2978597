"""The proof of the model's test: it finds each fault of mutants.py, put into a copy of the project on purpose."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.model.mutants import MUTANTS, Mutant

FOUND_BY = ("Violation", "AssertionError", "TypeError")  # TypeError: RQ's own code meets a job that is not started
NEW_EXAMPLES_SECONDS = 600  # for a fault that the examples of `make test` miss: time is a part of each example
LONGEST_SECONDS = 900


def copied_project(folder: Path, mutant: Mutant) -> Path:
    """Copy the project with this fault in it, and return the copy's folder."""
    for name in ("taskqueue", "jobs", "deploy", "tests/model", "tests/sample_jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    file = folder / mutant.file
    source = file.read_text()
    fault = mutant.fault or ("pass" if file.suffix == ".py" else "")
    file.write_text(source.replace(mutant.text, fault))
    return folder


def test_the_engine_has_each_line_that_a_fault_changes() -> None:
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.text) == 1, f"write the fault again: {mutant.name}"


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_model_finds(mutant: Mutant, tmp_path: Path) -> None:
    folder = copied_project(tmp_path, mutant)
    began = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-p",
            "no:cacheprovider",
            "--tb=short",
            "--show-capture=no",
            "-m",
            "slow or not slow",  # first the examples of `make test`, then new ones until the fault is found
            "tests/model/test_model.py",
        ],
        cwd=folder,
        env=os.environ
        | {"MODEL_SHRINKS": "no", "MODEL_SECONDS": str(NEW_EXAMPLES_SECONDS), "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=LONGEST_SECONDS,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("E  ")]
    print(f"{mutant.name}: {time.monotonic() - began:.1f} s; {found[:3]}")
    assert done.returncode == 1, f"not found: {mutant.name}\n{done.stdout[-2000:]}"
    assert any(words in line for line in found for words in FOUND_BY), f"failed otherwise:\n{done.stdout[-4000:]}"

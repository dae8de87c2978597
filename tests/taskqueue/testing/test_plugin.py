"""pytest loads the plugin by its entry point, and pays nothing for it until a test uses it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.conftest import ROOT

UNUSED = """
import sys

def test_nothing_is_imported_for_a_test_that_does_not_use_it():
    heavy = {"redis", "rq", "pydantic", "fakeredis", "time_machine", "taskqueue.jobtypes.registry"}
    assert "taskqueue.testing.plugin" in sys.modules
    assert heavy & sys.modules.keys() == set()
"""
USED = """
from taskqueue import job

@job("greet")
def greet(name: str) -> str:
    return f"Hello, {name}!"

def test_a_job_runs(task_queue):
    assert greet.submit(name="Ada").result() == "Hello, Ada!"
    task_queue.assert_submitted(greet, name="Ada")
"""


def test_the_entry_point_gives_the_fixture_and_costs_nothing_unused(tmp_path: Path) -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    installed = tmp_path / "site" / "probe-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n")
    lines = "".join(f"{name} = {module}\n" for name, module in points.items())
    (installed / "entry_points.txt").write_text(f"[pytest11]\n{lines}")
    (tmp_path / "test_unused.py").write_text(UNUSED)
    (tmp_path / "test_used.py").write_text(USED)
    # Other plugins, of the tests' own environment, import heavy modules themselves.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    for name in ("schemathesis", "anyio", "valkey", "xdist", "time_machine", "hypothesispytest"):
        command += ["-p", f"no:{name}"]
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    for file in ("test_unused.py", "test_used.py"):
        done = subprocess.run(
            [*command, file],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "1 passed" in done.stdout, done.stdout + done.stderr

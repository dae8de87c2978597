"""The Python of README, docs/python.md and docs/testing.md does what the pages say, on a real worker."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, RedisServer
from tests.taskqueue.worker.stage import RunningWorker

CHECKED = re.compile(r"^(?P<code>.*\.result\(timeout.*?|.*counts\[.*?)  # (?P<value>[^;]+)")


def blocks(page: str) -> tuple[dict[str, str], list[str]]:
    """Return the page's job files by name, and its other Python."""
    files, programs = {}, []
    for code in re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE):
        name = re.match(r"# (jobs/\w+\.py)\n", code)
        if name:
            files[name[1]] = code
        else:
            programs.append(code)
    return files, programs


def checked(program: str) -> tuple[str, int]:
    """Return the program with an assertion for each value that a comment promises, and how many there are."""
    lines, count = [], 0
    for line in program.splitlines():
        match = CHECKED.match(line)
        if match:
            value = ast.literal_eval(match["value"].strip())
            line, count = f"assert ({match['code'].strip()}) == {value!r}, {match['code']!r}", count + 1
        lines.append(line)
    return "\n".join(lines) + "\n", count


def with_jobs(project: Path, files: dict[str, str]) -> Path:
    for file in (project / "jobs").glob("[a-z]*.py"):
        file.unlink()  # the other job types take a second to import
    for name, code in files.items():
        (project / name).write_text(code)
    return project


TRANSPORT = """
import json
import os

from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.transport import Transport


class TestTransport(Transport):
    '''Captures envelopes, as the transport of the SDK's own tests does. What is never flushed is lost.'''

    def __init__(self, options=None):
        super().__init__(options)
        self.captured = []

    def capture_envelope(self, envelope):
        self.captured.append(envelope)

    def flush(self, timeout, callback=None):
        with open(os.environ["CAPTURED"], "a") as file:
            for envelope in self.captured:
                file.write(json.dumps(envelope.get_event()) + "\\n")
        self.captured.clear()


DEFAULT_OPTIONS["transport"] = TestTransport  # README's `sentry_sdk.init()` names no other
"""
FAILS = """
from jobs.greet import greet
from taskqueue.errors import TaskFailed

try:
    greet.submit("nobody").result(timeout=30)
except TaskFailed:
    pass
"""


def run(project: Path, program: str) -> None:
    (project / "program.py").write_text(program)
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr + program


@pytest.mark.usefixtures("env")
@pytest.mark.parametrize(("page", "promises"), [("README.md", 4), ("docs/python.md", 4)])
def test_the_programs_of_a_page_do_what_it_says(
    page: str, promises: int, bare_project: Path, tmp_path: Path, shared_redis: RedisServer
) -> None:
    files, programs = blocks(page)
    project = with_jobs(bare_project, files)
    worker = RunningWorker(project, tmp_path / "worker.log", shared_redis.url)
    worker.wait_until_it_works()
    try:
        parts = [checked(program) for program in programs]
        assert sum(count for _, count in parts) == promises
        ending = "import asyncio\nassert asyncio.run(price(2)) == 3.0\n" if page == "docs/python.md" else ""
        run(project, "".join(code for code, _ in parts) + ending)
    finally:
        worker.stop()


@pytest.mark.usefixtures("env")
def test_sentry_gets_a_failure_once(bare_project: Path, tmp_path: Path, shared_redis: RedisServer) -> None:
    files, _ = blocks("README.md")
    jobs = {name: files[name] for name in ("jobs/greet.py", "jobs/hooks.py")}
    project = with_jobs(bare_project, jobs | {"jobs/capture.py": TRANSPORT})
    captured = tmp_path / "events"
    sentry = {"SENTRY_DSN": "https://key@sentry.invalid/1", "CAPTURED": str(captured)}
    worker = RunningWorker(project, tmp_path / "worker.log", shared_redis.url, **sentry)
    try:
        run(project, FAILS)
    finally:
        worker.stop()
    (event,) = map(json.loads, captured.read_text().splitlines())
    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("PermanentFailure", "nobody cannot be greeted")
    assert error["stacktrace"]["frames"][-1]["function"] == "greet"


def test_the_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    files, programs = blocks("docs/testing.md")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").touch()
    for name, code in files.items():
        (tmp_path / name).write_text(code)
    for number, program in enumerate(programs):
        (tmp_path / f"test_page_{number}.py").write_text(program)
    (tmp_path / "conftest.py").write_text("from taskqueue.testing.plugin import task_queue\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    count = sum(program.count("def test_") for program in programs)
    assert f"{count} passed" in done.stdout, done.stdout

"""`taskqueue web`: gunicorn with the library's settings."""

import json
import os
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, free_port, wait_until

TASKQUEUE = (sys.executable, "-m", "taskqueue")
BROKEN = "from taskqueue import job\n\n@job\ndef bare() -> None: ...\n"


def ask(port: int, path: str) -> Any:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return json.load(connection.getresponse())
    except OSError:
        return None
    finally:
        connection.close()


def test_it_serves_the_job_types_of_the_option_and_stops_when_asked(
    env: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = free_port()
    options = ("--bind", f"127.0.0.1:{port}", "--jobs", "tests.sample_jobs", "--workers", "1")
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*TASKQUEUE, "web", *options], cwd=ROOT, stderr=log)
    wait_until(lambda: ask(port, "/readyz"), what="the web server")
    assert "flaky" in json.dumps(ask(port, "/task-types"))
    server.terminate()
    assert server.wait(30) == 0
    assert (tmp_path / "log").read_text().count("Booting worker") == 1  # --workers is gunicorn's own


def test_code_that_does_not_start_at_all_ends_it_with_a_sentence(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(BROKEN)
    command = [*TASKQUEUE, "web", "--bind", f"127.0.0.1:{free_port()}", "--jobs", "tasks"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert '`@job` needs a name; write @job("bare")' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["web", "run", "worker"])
def test_a_place_that_does_not_exist_is_named_before_anything_starts(program: str, tmp_path: Path) -> None:
    command = [*TASKQUEUE, program, "--jobs", "nowhere.jobs"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"taskqueue {program}: JOBS: there is no module 'nowhere.jobs' in {tmp_path} ")


def test_the_help_lists_the_programs_and_each_describes_its_own_options() -> None:
    def help_of(*arguments: str) -> str:
        command = [*TASKQUEUE, *arguments, "--help"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert all(name in help_of() for name in ("worker", "web", "run", "submit", "doctor"))
    for program, option in (("worker", "--queues"), ("web", "--bind"), ("run", "--watch")):
        assert help_of(program).startswith(f"usage: taskqueue {program} ")
        assert option in help_of(program)

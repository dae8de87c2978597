"""Fixtures of the deployment's tests: a copy of the project that a test may edit, and its web server."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, free_port

RELOAD_SECONDS = 60  # a reload starts the program twice; a busy machine takes its time
JOB_TYPE = """
from taskqueue import job

@job("fresh")
def fresh() -> None:
    \"\"\"A job type that was added later.\"\"\"
"""


@pytest.fixture
def editable_project(tmp_path: Path) -> Path:
    """The programs as real files, with the tests' own job types."""
    folder = tmp_path / "project"
    for package in ("taskqueue", "jobs", "web"):
        # With Python's compiled files, but not those that a process is writing now: they are renamed in the end.
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.copy(ROOT / "worker.py", folder)
    shutil.copy(ROOT / "tests" / "sample_jobs" / "samples.py", folder / "jobs")
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, file
    file.write_text(text.replace(old, new))


def command_of(dockerfile: str) -> list[str]:
    """Return the image's command, to be run by the tests' own Python."""
    command_line = re.search(r"^CMD (\[.*\])$", (ROOT / dockerfile).read_text(), re.MULTILINE)
    assert command_line
    program, *arguments = json.loads(command_line[1])
    return [sys.executable, *(["-m", program] if program != "python" else []), *arguments]


class Web:
    """gunicorn, as the image starts it; `under` is a command line that runs it."""

    def __init__(self, project: Path, *under: str, log_file: Path | None = None, host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.log_file = log_file or project.parent / "web.log"
        command = [word.replace("[::]:8000", f"{host}:{self.port}") for word in command_of("Dockerfile.web")]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen([*under, *command], cwd=project, stdout=log, stderr=log)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def log(self) -> str:
        return self.log_file.read_text()

    def get(self, path: str) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return json.load(connection.getresponse())
        finally:
            connection.close()

    def answers(self) -> bool:
        try:
            return bool(self.get("/healthz"))
        except (OSError, HTTPException):
            return False

    @contextmanager
    def load(self) -> Iterator[list[Exception]]:
        """Ask hundreds of times a second, with four clients; what went wrong."""
        failures: list[Exception] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                try:
                    self.get("/healthz")
                except (OSError, HTTPException) as error:
                    failures.append(error)
                over.wait(0.005)  # the reload needs the processor, too

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        yield failures
        over.set()
        for client in clients:
            client.join()

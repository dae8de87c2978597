"""compose.yaml and its development variant, as the README starts them."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.images.docker import Api, docker, wait_until

PORTS = {"PORT": "0", "MAIL_PORT": "0"}  # Docker chooses


class Compose:
    """A compose project with a name of its own, so that it cannot touch a developer's."""

    def __init__(self, folder: Path, *files: str) -> None:
        self._folder = folder
        self._project = f"tq-{uuid.uuid4().hex[:8]}"
        self._files = [word for file in files for word in ("-f", file)]

    def __call__(self, *arguments: str) -> str:
        """Run `docker compose …` and return its output."""
        command = ["docker", "compose", "-p", self._project, *self._files, *arguments]
        done = subprocess.run(
            command, cwd=self._folder, env=os.environ | PORTS, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def api(self) -> Api:
        return Api(self("port", "web", "8000"))


@pytest.fixture
def compose(others: None, images: None) -> Iterator[Callable[..., Compose]]:
    """Start a variant of compose.yaml, and wait until everything in it is healthy."""
    started: list[Compose] = []

    def start(folder: Path, *files: str) -> Compose:
        project = Compose(folder, *files)
        started.append(project)
        project("up", "-d", "--wait")
        return project

    yield start
    for project in started:
        project("down", "--volumes", "--timeout", "5")


def test_all_services_are_healthy_mail_is_caught_and_nothing_is_lost(compose: Callable[..., Compose]) -> None:
    project = compose(ROOT, "compose.yaml")
    api = project.api()
    [emailed] = api.wait_for(api.submit("email", to="ada@example.com", subject="Welcome"))
    assert emailed["result"]["sent"] is True
    workers = project("ps", "-q", "worker").splitlines()
    assert len(workers) == 2

    docker("kill", workers[0])
    waiting = [api.submit("generic", number=number) for number in range(20)]
    api.wait_for(*waiting)  # the other worker does all
    docker("kill", workers[1])
    waiting = [api.submit("generic", number=number) for number in range(20)]
    project("kill", "redis")
    project("up", "-d", "--wait")
    for number, task in enumerate(api.wait_for(*waiting)):
        assert task["result"] == {"number": number}


def test_in_development_web_and_worker_take_a_changed_file(
    compose: Callable[..., Compose], tmp_path: Path
) -> None:
    names = ("compose.yaml", "compose.dev.yaml", "Dockerfile.web", "Dockerfile.worker", "worker.py")
    for name in names:
        shutil.copy(ROOT / name, tmp_path)
    for name in ("jobs", "taskqueue", "web", "deploy", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    tmp_path.chmod(0o755)  # a container's user reads it
    project = compose(tmp_path, "compose.yaml", "compose.dev.yaml")
    api = project.api()
    file = tmp_path / "jobs" / "generic.py"
    file.write_text(
        file.read_text()
        .replace('@job("generic")', '@job("renamed")')
        .replace("return payload", 'return {"code": "new"}')
    )
    taken: list[str] = []

    def is_taken() -> bool:  # a process with the old code may still answer, and refuse the type
        status, task = api.ask("POST", "/tasks?task_type=renamed", {})
        taken.extend([task["id"]] if status == 202 else [])
        return bool(taken)

    wait_until(is_taken, what="the web server's reload")
    [task] = api.wait_for(*taken)
    assert task["result"] == {"code": "new"}

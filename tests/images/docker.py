"""Helpers of the images' tests: Docker's command line, and a client of the API in a container."""

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

REQUEST_SECONDS = 10


def docker(*arguments: str, cwd: str | None = None) -> str:
    """Run `docker …` and return its output; a failure shows the output, too."""
    done = subprocess.run(["docker", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def copy_into(container: str, path: str, content: str) -> None:
    """Write a file under /app like `kubectl cp`: with the container's own tar, as its user."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo(path)
        entry.size, entry.mtime = len(content.encode()), int(time.time())
        archive.addfile(entry, io.BytesIO(content.encode()))
    unpack = ["docker", "exec", "-i", container, "tar", "-xmf", "-", "-C", "/app"]
    subprocess.run(unpack, input=packed.getvalue(), check=True)


def log_of(container: str) -> str:
    """Return a container's log."""
    command = ["docker", "logs", container]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout


def wait_until(condition: Callable[[], object], seconds: float = 60, what: str = "it") -> None:
    """Return when `condition` is true; fail after so many seconds. An OSError counts as "not yet"."""
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.1)


class Api:
    """The web server in a container, over its published port."""

    def __init__(self, published: str) -> None:
        self.address = f"http://{published.splitlines()[0]}"

    def ask(self, method: str, path: str, payload: object = None) -> tuple[int, Any]:
        """Send a request; return the status and the JSON of the answer."""
        connection = HTTPConnection(self.address.removeprefix("http://"), timeout=REQUEST_SECONDS)
        try:
            body = None if payload is None else json.dumps(payload)
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def page(self, path: str) -> str:
        """Return the text of a page; fail unless its status is 200."""
        connection = HTTPConnection(self.address.removeprefix("http://"), timeout=REQUEST_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, path
            return answer.read().decode()
        finally:
            connection.close()

    def submit(self, task_type: str, **payload: object) -> str:
        """Queue a task and return its id."""
        status, task = self.ask("POST", f"/tasks?task_type={task_type}", payload)
        assert status == 202, task
        return str(task["id"])

    def task(self, task_id: str) -> dict[str, Any]:
        task: dict[str, Any] = self.ask("GET", f"/tasks/{task_id}")[1]
        return task

    def is_ready(self) -> bool:
        return self.ask("GET", "/readyz")[0] == 200

    def wait_for(self, *task_ids: str, status: str = "complete", seconds: float = 60) -> list[dict[str, Any]]:
        """Return the tasks when each has the status."""
        for task_id in task_ids:
            wait_until(
                lambda task_id=task_id: self.task(task_id).get("status") == status,  # type: ignore[misc]
                seconds,
                f"task {task_id} to be {status}",
            )
        return [self.task(task_id) for task_id in task_ids]

"""A version of the project as a folder: its web server and its worker, started as its Dockerfiles say."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tests.conftest import free_port, wait_until

JOBS = "tests/sample_jobs/samples.py"


def laid_out(source: Path, folder: Path) -> Path:
    """Copy the programs of a checkout to a folder, with its own tests' job types in `jobs/`."""
    shutil.copytree(
        source, folder, ignore=shutil.ignore_patterns(".*", "var", "benchmarks", "tests", "__pycache__")
    )
    shutil.copy(source / JOBS, folder / "jobs")
    return folder


class Version:
    """The programs of one version, in a folder that `laid_out` has made, on one Redis."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        self._env = os.environ | {"TASK_QUEUE_URL": redis_url, "WEB_PROCESSES": "1"}
        self._port = free_port()
        self._programs: list[subprocess.Popen[bytes]] = []

    def start_web(self) -> None:
        """Start the web server, and wait until it answers."""
        command = [word.replace("[::]:8000", f"127.0.0.1:{self._port}") for word in self._command("web")]
        self._start(command)
        wait_until(lambda: self._ask("GET", "/readyz")[0] == 200, what="the web server")

    def start_worker(self, *options: str) -> None:
        self._start([*self._command("worker"), *options])

    def kill_worker(self) -> None:
        """Kill the worker and its horses at one blow, as when its machine dies."""
        worker = self._programs.pop()
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def stop(self) -> None:
        for program in self._programs:
            program.terminate()
        for program in self._programs:
            program.wait(40)
        self._programs.clear()

    def get(self, path: str) -> Any:
        status, answer = self._ask("GET", path)
        assert status == 200, answer
        return answer

    def post(self, path: str, payload: object = None, **headers: str) -> Any:
        status, answer = self._ask("POST", path, payload, headers)
        assert status in (200, 201, 202), answer
        return answer

    def put(self, path: str, payload: object) -> Any:
        status, answer = self._ask("PUT", path, payload)
        assert status in (200, 201), answer
        return answer

    def status(self, task_id: str) -> str:
        return str(self.get(f"/tasks/{task_id}")["status"])

    def _command(self, part: str) -> list[str]:
        line = re.search(r"^CMD (\[.*\])$", (self._folder / f"Dockerfile.{part}").read_text(), re.MULTILINE)
        assert line
        program, *arguments = json.loads(line[1])
        return [sys.executable, *([] if program == "python" else ["-m", program]), *arguments]

    def _start(self, command: list[str]) -> None:
        log = (self._folder / "log").open("ab")
        with log:
            self._programs.append(
                subprocess.Popen(
                    command, cwd=self._folder, env=self._env, stdout=log, stderr=log, start_new_session=True
                )
            )

    def _ask(
        self, method: str, path: str, payload: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        body = None if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        content_type = "text/plain" if isinstance(payload, bytes) else "application/json"
        try:
            named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
            connection.request(method, path, body, {"Content-Type": content_type} | named)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        except (OSError, HTTPException):
            return 0, None
        finally:
            connection.close()


def fill(version: Version) -> dict[str, str]:
    """Queue a task for each state that a task can be in; return the ids, and other names, by what they are.

    The worker that ran some of them is dead afterwards, and none runs.
    """
    version.start_worker("--horses", "4")
    found = {
        "complete": submit(version, "double", {"number": 4}, "&tags=eu,nightly"),
        "complete after failures": submit(version, "flaky", {"failures": 2}),
        "failed": submit(version, "misnamed", {}),
        "waits for its next attempt": submit(version, "later", {}),
        "canceled": submit(version, "generic", {}, "&delay=3600"),
    }
    version.post(f"/tasks/{found['canceled']}/cancel")
    for name in ("complete", "complete after failures", "failed"):
        wait_for(version, found[name], "complete", "failed")
    wait_for(version, found["waits for its next attempt"], "scheduled")
    found["processing"] = submit(version, "long", {"seconds": 3})
    limited = [submit(version, "two-at-a-time", {"seconds": 2, "number": number}) for number in range(3)]
    found |= {f"limited {number}": task_id for number, task_id in enumerate(limited)}
    for task_id in (found["processing"], *limited[:2]):
        wait_for(version, task_id, "processing")
    version.kill_worker()
    found |= fill_without_worker(version)
    return found


def fill_without_worker(version: Version) -> dict[str, str]:
    """Queue a task for each state in which it waits."""
    parent = submit(version, "double", {"number": 5})
    batch = version.post(
        '/tasks/bulk?on_complete={"task_type":"generic","payload":{"batch":"done"}}'.replace('"', "%22"),
        [{"task_type": "double", "payload": {"number": number}} for number in range(3)],
    )["batch"]
    keyed = version.post("/tasks?task_type=generic", {"a": 1}, Idempotency_Key="once")["id"]
    version.post("/queues/low/pause")
    version.put("/schedules/hourly", {"task_type": "generic", "interval": 3600, "payload": {"by": "schedule"}})
    return {
        "queued": parent,
        "depends on another": submit(version, "generic", {"after": "parent"}, f"&depends_on={parent}"),
        "scheduled": submit(version, "generic", {"delayed": True}, "&delay=2"),
        "deduplicated": submit(version, "generic", {"dedupe": True}, "&dedupe=same"),
        "with a secret": submit(version, "login", {"user": "ada", "password": "hunter2"}),
        "on a paused queue": submit(version, "generic", {"paused": True}, "&queue=low"),
        "under an Idempotency-Key": keyed,
        "batch": batch,
        "file": version.post("/files?filename=note.txt", b"kept")["filename"],
    }


def wait_for(version: Version, task_id: str, *statuses: str) -> None:
    wait_until(
        lambda: version.status(task_id) in statuses, what=f"{statuses[0]}: {version.get(f'/tasks/{task_id}')}"
    )


def submit(version: Version, task_type: str, payload: object, options: str = "") -> str:
    return str(version.post(f"/tasks?task_type={task_type}{options}", payload)["id"])

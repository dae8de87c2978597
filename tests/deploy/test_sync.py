"""`kindling sync` copies new code into /app and signals the process: tested with kindling's own command lines."""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import SLACK, wait_until
from tests.deploy.conftest import JOB_TYPE, RELOAD_SECONDS, Web, command_of, edit

# What kindling runs instead of a command that it cannot signal.
WRAPPER = (
    "while true; do {command} & PID=$!; echo $PID > app-pid; wait $PID;"
    ' echo "Process exited, restarting..."; sleep 1; done'
)
BUSY_SECONDS = 10 * SLACK  # a quiet machine needs less than 2, of which the wrapper sleeps one
NEW_VIEW = '    app.add_url_rule("/own", view_func=lambda: {"view": "new"})\n    return app'


@pytest.fixture
def web(env: pytest.MonkeyPatch, editable_project: Path) -> Iterator[Web]:
    env.setenv("WEB_PROCESSES", "1")  # when it answers, no other is still reading the code that a test will break
    server = Web(editable_project)
    wait_until(server.answers, RELOAD_SECONDS, what="the web server")
    yield server
    server.stop()


def test_a_reload_takes_new_code_with_no_failed_request(web: Web, editable_project: Path) -> None:
    (editable_project / "jobs" / "fresh.py").write_text(JOB_TYPE)
    edit(editable_project / "web" / "__init__.py", "    return app", NEW_VIEW)
    edit(editable_project / "taskqueue" / "web" / "__init__.py", '"dashboard": "/rq"', '"dashboard": "elsewhere"')
    edit(editable_project / "taskqueue" / "errors.py", "There is no task ", "New words for no task ")
    with web.load() as failures:
        web.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: web.log().count("Worker exiting") == 1,
            RELOAD_SECONDS,
            what="the process with the old code to end",
        )
    assert failures == [], web.log()
    assert web.get("/own") == {"view": "new"}
    assert web.get("/")["dashboard"] == "elsewhere"
    assert web.get("/tasks/none")["detail"].startswith("New words")
    assert "fresh" in json.dumps(web.get("/task-types"))


@pytest.mark.parametrize("file", ["jobs/generic.py", "taskqueue/settings/settings.py"])
def test_code_that_does_not_start_is_refused_and_the_old_goes_on(
    web: Web, editable_project: Path, file: str
) -> None:
    good = (editable_project / file).read_text()
    (editable_project / file).write_text(good + "\ndef broken(:\n")
    with web.load() as failures:
        web.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: "The new code does not start; the old code goes on." in web.log(),
            RELOAD_SECONDS,
            what="the refusal",
        )
    assert failures == [], web.log()
    assert f"{file}" in web.log()
    assert web.process.poll() is None
    (editable_project / file).write_text(good)
    ended = web.log().count("Worker exiting")  # the process with the broken code, where one was started
    web.process.send_signal(signal.SIGHUP)
    wait_until(lambda: web.log().count("Worker exiting") > ended, RELOAD_SECONDS, what="the fixed code")
    assert web.answers()


@pytest.fixture
def wrapped(env: pytest.MonkeyPatch, editable_project: Path) -> Iterator[Callable[[], None]]:
    """A worker in kindling's wrapper; call the fixture's value to kill the worker as sync does."""
    env.setenv("GRACE_SECONDS", "0")  # as .github/workflows/dev-deploy.yml has it
    script = WRAPPER.format(command=shlex.join(command_of("Dockerfile.worker")))
    shell = subprocess.Popen(["sh", "-c", script], cwd=editable_project, start_new_session=True)
    yield lambda: subprocess.run(["sh", "-c", "kill $(cat app-pid)"], cwd=editable_project, check=True) and None
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()


def test_a_restarted_worker_gives_its_job_back_and_has_the_new_code(
    wrapped: Callable[[], None], editable_project: Path, redis: Redis, settings: Settings, job_types: JobTypes
) -> None:
    queue = TaskQueue(redis, settings, job_types)
    running = queue.submit("slow", {"seconds": 0.7})
    wait_until(lambda: queue.get(running.id).status == "processing", RELOAD_SECONDS, what="the job to begin")
    old = redis.smembers("rq:workers")
    edit(editable_project / "jobs" / "generic.py", "return payload", 'return {"code": "new"}')
    killed_at = time.monotonic()
    wrapped()
    wait_until(lambda: redis.smembers("rq:workers") - old, RELOAD_SECONDS, what="the new worker")
    seconds = time.monotonic() - killed_at
    wait_until(
        lambda: queue.get(running.id).status == "complete", RELOAD_SECONDS, what="the job that was given back"
    )
    assert queue.get(running.id).attempt == 1
    later = queue.submit("generic", {})
    wait_until(lambda: queue.get(later.id).result == {"code": "new"}, RELOAD_SECONDS, what="the new code")
    assert seconds < BUSY_SECONDS

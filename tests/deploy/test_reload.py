"""`make run` and compose's development variant reload when a source file changes."""

import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import wait_until
from tests.deploy.conftest import JOB_TYPE, RELOAD_SECONDS, Web, edit

RELOAD = (sys.executable, "taskqueue/programs/reload.py", "--watch", "jobs,taskqueue,web")


def test_a_worker_starts_again_with_changed_code_and_waits_while_it_is_broken(
    editable_project: Path, tmp_path: Path, redis: Redis, settings: Settings, job_types: JobTypes
) -> None:
    queue = TaskQueue(redis, settings, job_types)
    file = editable_project / "jobs" / "generic.py"
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen([*RELOAD, sys.executable, "worker.py"], cwd=editable_project, stderr=log)
    wait_until(lambda: redis.scard("rq:workers") == 1, RELOAD_SECONDS, what="the worker")

    edit(file, "@job", "@@job")
    report = "reload: the program has ended (exit code 1); it starts when the code changes again"
    wait_until(lambda: report in (tmp_path / "log").read_text(), RELOAD_SECONDS, what="the end of the broken code")
    edit(file, "@@job", "@job")
    edit(file, "return payload", 'return {"code": "new"}')
    task = queue.submit("generic", {})
    wait_until(lambda: queue.get(task.id).result == {"code": "new"}, RELOAD_SECONDS, what="the fixed code")

    worker.terminate()
    assert worker.wait(30) == 0
    assert redis.scard("rq:workers") == 0
    assert "reload: jobs/generic.py changed" in (tmp_path / "log").read_text()


def test_gunicorn_takes_a_new_job_type(env: pytest.MonkeyPatch, editable_project: Path) -> None:
    env.setenv("WEB_PROCESSES", "1")
    server = Web(editable_project, *RELOAD)
    wait_until(server.answers, RELOAD_SECONDS, what="the web server")
    (editable_project / "jobs" / "fresh.py").write_text(JOB_TYPE)
    wait_until(lambda: "fresh" in str(server.get("/task-types")), RELOAD_SECONDS, what="the new job type")
    server.stop()
    assert not server.answers()


def test_a_program_that_cannot_start_ends_with_its_exit_code(
    env: pytest.MonkeyPatch, editable_project: Path
) -> None:
    env.setenv("RESULT_TTL_SECONDS", "soon")
    done = subprocess.run(
        [*RELOAD, sys.executable, "worker.py"], cwd=editable_project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "RESULT_TTL_SECONDS" in done.stderr

"""`make run` and compose's development variant reload when a source file changes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.programs.reload import take_snapshot
from taskqueue.settings import Settings
from tests.conftest import ROOT, wait_until
from tests.deploy.conftest import JOB_TYPE, RELOAD_SECONDS, Web, edit

RELOAD = (sys.executable, "taskqueue/programs/reload.py", "--watch", "jobs,taskqueue,web")
REFUSAL = "The new code does not start; the old code goes on."
STARTED = "A process has read all of its code and has started"


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
    fixed = file.read_text().replace("@@job", "@job")
    file.write_text(fixed.replace("return payload", 'return {"code": "new"}'))
    task = queue.submit("generic", {})
    wait_until(lambda: queue.get(task.id).result == {"code": "new"}, RELOAD_SECONDS, what="the fixed code")

    worker.terminate()
    assert worker.wait(30) == 0
    assert redis.scard("rq:workers") == 0
    assert "reload: jobs/generic.py changed" in (tmp_path / "log").read_text()


STOPS_WHEN_TOLD = """
import pathlib, signal, sys, time
def stop(*_):
    pathlib.Path("stopping").touch()
    while not pathlib.Path("may-stop").exists(): time.sleep(0.02)
    sys.exit()
signal.signal(signal.SIGTERM, stop)
print("started", flush=True)
while True: signal.pause()
"""


def test_a_program_that_is_asked_to_stop_while_it_restarts_is_not_started_again(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(STOPS_WHEN_TOLD)
    reload = [sys.executable, ROOT / "taskqueue" / "programs" / "reload.py", sys.executable, "program.py"]
    log = tmp_path / "log"
    with log.open("w") as out:
        running = subprocess.Popen(reload, cwd=tmp_path, stdout=out)
    wait_until(lambda: "started" in log.read_text(), what="the program")
    (tmp_path / "other.py").touch()
    wait_until((tmp_path / "stopping").exists, what="the restart")
    running.terminate()
    (tmp_path / "may-stop").touch()
    assert running.wait(30) == 0
    assert log.read_text().count("started") == 1


def test_gunicorn_takes_a_new_job_type(env: pytest.MonkeyPatch, editable_project: Path) -> None:
    env.setenv("WEB_PROCESSES", "1")
    server = Web(editable_project, *RELOAD)
    wait_until(server.answers, RELOAD_SECONDS, what="the web server")
    (editable_project / "jobs" / "fresh.py").write_text(JOB_TYPE)
    wait_until(lambda: "fresh" in str(server.get("/task-types")), RELOAD_SECONDS, what="the new job type")
    server.stop()
    assert not server.answers()


@pytest.fixture
def web(env: pytest.MonkeyPatch, editable_project: Path) -> Iterator[Web]:
    """Run a server of two processes; both have started: neither still reads the code that a test will break."""
    env.setenv("WEB_PROCESSES", "2")
    started = "worker.has_started[0] = 1"
    edit(
        editable_project / "taskqueue" / "web" / "gunicorn_conf.py",
        started,
        f'{started}\n    print("{STARTED}", flush=True)',
    )
    server = Web(editable_project, *RELOAD)
    wait_until(lambda: server.log().count(STARTED) == 2, RELOAD_SECONDS, what="both processes")
    yield server
    server.stop()


def test_a_broken_save_during_a_reload_leaves_the_web_server_on_working_code(
    web: Web, editable_project: Path
) -> None:
    file = editable_project / "jobs" / "generic.py"
    good = file.read_text()
    for number in range(3):
        booted, refused = web.log().count("Booting worker"), web.log().count(REFUSAL)
        file.write_text(f"{good}\n# {number}\n")
        wait_until(lambda n=booted: web.log().count("Booting worker") > n, RELOAD_SECONDS, what="the new process")
        file.write_text(good + "\ndef broken(:\n")  # the new process may have read any part of the code
        wait_until(lambda n=refused: web.log().count(REFUSAL) > n, RELOAD_SECONDS, what="the refusal")
        assert web.answers()
        assert web.process.poll() is None
    (editable_project / "jobs" / "fresh.py").write_text(JOB_TYPE)
    file.write_text(good)
    wait_until(lambda: "fresh" in str(web.get("/task-types")), RELOAD_SECONDS, what="the fixed code")


def test_a_process_that_dies_while_the_code_is_broken_does_not_end_the_web_server(
    web: Web, editable_project: Path
) -> None:
    file = editable_project / "jobs" / "generic.py"
    good = file.read_text()
    file.write_text(good + "\ndef broken(:\n")
    wait_until(lambda: REFUSAL in web.log(), RELOAD_SECONDS, what="the refusal")
    processes = map(int, re.findall(r"Booting worker with pid: (\d+)", web.log()))
    process = next(pid for pid in processes if Path(f"/proc/{pid}").exists())
    refused = web.log().count("exited with code 3")
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: web.log().count("exited with code 3") > refused, RELOAD_SECONDS, what="its replacement")
    assert web.answers()
    started, ended = web.log().count(STARTED), web.log().count("Worker exiting")
    file.write_text(good)
    wait_until(lambda: web.log().count(STARTED) >= started + 2, RELOAD_SECONDS, what="the fixed code")
    wait_until(lambda: web.log().count("Worker exiting") > ended, RELOAD_SECONDS, what="the end of the old code")
    assert web.answers()


def test_a_new_file_is_taken_as_soon_as_an_edit_is(web: Web, editable_project: Path) -> None:
    """An editor may make a file in two steps: the reload that takes the first is given up for the second."""
    file = editable_project / "jobs" / "fresh.py"
    file.touch()
    wait_until(lambda: web.log().count("Booting worker") > 2, RELOAD_SECONDS, what="the first reload")
    file.write_text(JOB_TYPE)
    wait_until(lambda: "fresh" in str(web.get("/task-types")), RELOAD_SECONDS, what="the new job type")
    assert web.process.poll() is None


def test_what_is_watched_by_default_are_the_sources_below_the_folder(tmp_path: Path) -> None:
    sources = ("app.py", "shop/jobs/email.py", "shop/page.html")
    others = ("notes.md", ".git/hook.py", "venv/lib/module.py", "node_modules/a/tool.py", "var/data.py")
    for name in (*sources, *others, "venv/pyvenv.cfg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "shop" / "jobs" / "back").symlink_to(tmp_path / "shop")
    assert {str(path.relative_to(tmp_path)) for path in take_snapshot([str(tmp_path)])} == set(sources)
    assert {path.name for path in take_snapshot([str(tmp_path / "app.py"), str(tmp_path / "none")])} == {"app.py"}


def test_a_program_that_cannot_start_ends_with_its_exit_code(
    env: pytest.MonkeyPatch, editable_project: Path
) -> None:
    env.setenv("RESULT_TTL_SECONDS", "soon")
    done = subprocess.run(
        [*RELOAD, sys.executable, "worker.py"], cwd=editable_project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "RESULT_TTL_SECONDS" in done.stderr

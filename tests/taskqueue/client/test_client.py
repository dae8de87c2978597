"""`Client` on a real web server with a real worker: what it submits, reads and changes."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Response

from taskqueue.client import Client
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import (
    ApiRefused,
    IdempotencyMismatch,
    InvalidBatch,
    InvalidOptions,
    InvalidPayload,
    InvalidScheduleName,
    InvalidSetting,
    ResultTimeout,
    TaskCanceled,
    TaskFailed,
    TooManyMatch,
    UnknownBatch,
    UnknownFile,
    UnknownJobType,
    UnknownParent,
    UnknownQueue,
    UnknownSchedule,
    UnknownTask,
    WrongStatus,
)
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import ROOT
from tests.taskqueue.cli.stage import SECRET
from tests.taskqueue.web.conftest import served
from tests.taskqueue.worker.stage import RunningWorker
from web import create_app

Worker = Callable[[], RunningWorker]


def test_a_task_is_submitted_and_its_result_comes_without_polling(
    client: Client, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker()
    handle = client.submit("long", {"seconds": 0.3}, tags=["a", "b"], queue="high")
    with caplog.at_level(logging.INFO, logger="httpx"):
        # Nearer to the end of its time it connects again after each event: see `Deadline`.
        assert handle.result(timeout=120) == 1
    asked = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert asked == [f'HTTP Request: GET {client.url}/tasks/{handle.id}/events "HTTP/1.1 200 OK"']
    task = handle.refresh()
    assert (task.status, task.tags, task.queue, task.attempt) == ("complete", ("a", "b"), "high", 1)
    assert isinstance(task.ended_at, datetime)
    assert task.json["id"] == handle.id
    assert handle == client.handle(handle.id)
    assert repr(handle) == f"TaskHandle('{handle.id}')"


def test_the_answer_may_wait_for_the_result(client: Client, worker: Worker) -> None:
    worker()
    handle = client.submit("double", {"number": 21}, wait=10)
    assert handle.accepted
    assert handle.accepted.has_ended
    client.close()  # nothing more is asked
    assert handle.result() == 42


def test_a_submission_has_the_options_of_http(client: Client) -> None:
    parent = client.submit("generic")
    at = datetime.now(UTC) + timedelta(hours=1)
    assert client.submit("generic", depends_on=[parent], allow_failure=True).status() == "deferred"
    task = client.submit("generic", at=at, attempts=7, timeout=5, priority="front", expires_in=7200).refresh()
    assert (task.status, task.attempts) == ("scheduled", 7)
    assert task.scheduled_for
    assert abs(task.scheduled_for - at) < timedelta(milliseconds=2)
    first = client.submit("generic", dedupe="one")
    again = client.submit("generic", dedupe="one")
    assert again == first
    assert again.accepted
    assert "duplicate" in [warning.code for warning in again.accepted.warnings]


def test_results_that_are_none(client: Client, queue: TaskQueue, work: Callable[..., str]) -> None:
    failed, canceled, waiting = (
        client.submit("hopeless"),
        client.submit("generic"),
        client.submit("generic", delay=60),
    )
    assert canceled.cancel() == "canceled"
    work()
    with pytest.raises(TaskFailed, match=r"hopeless\) has failed: .*the page is gone \(410\)") as error:
        failed.result()
    assert error.value.traceback.startswith("Traceback")
    with pytest.raises(TaskCanceled):
        canceled.result()
    began = time.monotonic()
    for seconds in (0, 0.5):
        with pytest.raises(ResultTimeout, match="it is scheduled"):
            waiting.result(timeout=seconds)
    assert 0.5 <= time.monotonic() - began < 30  # the task itself has a delay of 60 seconds


def test_events_come_as_they_happen(client: Client, worker: Worker) -> None:
    worker()
    seen = list(client.submit("talkative", {"pause": 0.2}).events())
    assert [event.line.line for event in seen if event.line][:2] == ["run 1", "printed 1"]
    last = seen[-1].task
    assert last
    assert last.status == "complete"


def test_many_tasks_are_one_batch(client: Client, work: Callable[..., str]) -> None:
    batch = client.submit_many(
        [{"task_type": "double", "payload": {"number": number}, "tags": ["x"]} for number in range(3)],
        then={"task_type": "generic", "payload": {"done": True}},
    )
    assert batch.refresh().total == 3
    work()
    assert [task.result() for task in batch.tasks] == [0, 2, 4]
    assert batch.then
    assert [(parent.id, parent.result) for parent in client.parents(batch.then.id)] == [
        (task.id, number * 2) for number, task in enumerate(batch.tasks)
    ]
    with pytest.raises(InvalidBatch) as error:
        client.submit_many([{"task_type": "double"}, {"task_type": "emial"}])
    assert [each.pointer for each in error.value.errors] == ["/0/payload/number", "/1/task_type"]
    first = "/0/payload/number: This field is required"
    assert str(error.value) == f"2 of 2 tasks cannot be queued, so none was. {first}"
    some = client.submit_many(
        [{"task_type": "emial"}, {"task_type": "double", "payload": {"number": 1}}], atomic=False
    )
    assert ([task.status() for task in some.tasks], list(some.refused)) == (["queued"], [0])
    assert [each.pointer for each in some.refused[0]] == ["/task_type"]
    with pytest.raises(InvalidBatch):
        client.submit_many([{"task_type": "double", "payload": {"number": object()}}])
    with pytest.raises(UnknownBatch):
        client.batch("nope")


def test_tasks_are_listed_over_pages_and_changed_together(
    client: Client, monkeypatch: pytest.MonkeyPatch, work: Callable[..., str]
) -> None:
    handles = [client.submit("generic", tags=["many"]) for _ in range(5)]
    monkeypatch.setattr("taskqueue.client.connection.MAX_PAGE", 2)
    assert [task.id for task in client.list("tag:many")] == [handle.id for handle in reversed(handles)]
    assert len(list(client.list("tag:many", limit=3))) == 3
    assert client.matching("cancel", "tag:many").matching == 5
    with pytest.raises(TooManyMatch):
        client.bulk("cancel", "tag:many", max=3)
    work_done = client.bulk("cancel", "tag:many", max=5, rate=1000)
    work()
    assert work_done.result() == {"changed": 5, "skipped": 0}
    with pytest.raises(ApiRefused, match="is no qualifier") as error:
        next(client.list("nonsense"))
    assert error.value.kind == "invalid-search"
    assert "bulk-action" in [change.what for change in client.changes(limit=10)]


def test_one_task_is_changed_and_explained(client: Client, work: Callable[..., str]) -> None:
    handle = client.submit("hopeless")
    assert client.explain(handle.id).reasons[0].code == "no-worker"
    work()
    assert client.failures().failures[0].type == "hopeless"
    assert client.requeue(handle.id).status == "queued"
    with pytest.raises(WrongStatus, match="Only a failed or canceled") as error:
        client.requeue(handle.id)
    assert error.value.status == "queued"
    client.delete(handle.id)
    with pytest.raises(UnknownTask, match=f"There is no task '{handle.id}'"):
        handle.refresh()
    with pytest.raises(UnknownTask):
        list(handle.events())
    for name in ("nope", "../queues", "..", "a/b?c"):
        with pytest.raises((UnknownTask, ApiRefused)):
            client.get(name)


def test_queues_are_paused_and_schedules_kept(client: Client, redis: Redis) -> None:
    client.pause("low")
    assert {queue.name: queue.paused for queue in client.queues()} == {
        "high": False,
        "default": False,
        "low": True,
    }
    client.resume("low")
    with pytest.raises(UnknownQueue) as queue_error:
        client.pause("nope")
    assert (queue_error.value.name, queue_error.value.known) == ("nope", ["high", "default", "low"])
    made = client.put_schedule("nightly", {"task_type": "double", "payload": {"number": 1}, "cron": "30 2 * * *"})
    assert (made.cron, len(made.next_runs), made.next_runs[0].minute) == ("30 2 * * *", 5, 30)
    assert client.pause_schedule("nightly").paused
    assert not client.resume_schedule("nightly").paused
    assert client.run_schedule("nightly").status() == "queued"
    assert [schedule.name for schedule in client.schedules()] == ["nightly"]
    with pytest.raises(InvalidScheduleName):
        client.put_schedule("Ä", {"task_type": "double", "payload": {"number": 1}, "interval": 5})
    with pytest.raises(ApiRefused, match="Give either interval") as error:
        client.put_schedule("other", {"task_type": "double"})
    assert error.value.kind == "invalid-schedule"
    client.delete_schedule("nightly")
    with pytest.raises(UnknownSchedule):
        client.schedule("nightly")
    assert client.workers() == ()
    assert "double" in [task_type.name for task_type in client.task_types()]
    assert client.task_type("double").payload_schema["required"] == ["number"]
    with pytest.raises(UnknownJobType, match="nope"):
        client.task_type("nope")


def test_the_state_of_the_whole_is_read(client: Client) -> None:
    batch = client.submit_many([{"task_type": "double", "payload": {"number": 1}}])
    assert [each.id for each in client.batches()] == [batch.id]
    action = client.bulk("cancel", "type:double", max=1)
    assert [each.id for each in client.bulk_actions()] == [action.id]
    hour = client.series()
    assert hour.step_seconds == 60
    (everything,) = hour.series
    assert everything.name is None
    assert sum(point.submitted for point in everything.points) == 2
    by_type = client.series("day", queue="default", by="task_type")
    assert {each.name: sum(point.submitted for point in each.points) for each in by_type.series}["double"] == 1
    found = client.findings()
    assert not found.ok
    assert "python -m taskqueue worker" in next(each.fix for each in found.findings if each.about == "workers")


def test_files_go_up_and_down(client: Client, picture: Path) -> None:
    stored = client.upload(picture)
    assert (stored.name, stored.size) == ("Отчёт.txt", 5)
    assert client.download(stored.filename) == b"hello"
    assert client.upload(b"abc", "a.bin").name == "a.bin"
    with pytest.raises(UnknownFile):
        client.download("nope")


def test_what_is_wrong_with_a_submission_is_an_exception(client: Client, redis: Redis) -> None:
    with pytest.raises(UnknownJobType) as unknown:
        client.submit("emial")
    assert (unknown.value.name, "email" in unknown.value.known) == ("emial", True)
    with pytest.raises(InvalidPayload) as payload:
        client.submit("week", {"of": "soon", "weeks": 99})
    assert [error.pointer for error in payload.value.errors] == ["/of", "/weeks"]
    with pytest.raises(InvalidPayload, match="not JSON serializable"):
        client.submit("generic", {"now": datetime.now(UTC)})
    with pytest.raises(InvalidOptions) as options:
        client.submit("generic", attempts=0, tags=["?"])
    assert [error.pointer for error in options.value.errors] == ["/attempts", "/tags"]
    misspelt: Any = {"dely": 1}
    with pytest.raises(InvalidOptions, match="'dely'"):
        client.submit("generic", **misspelt)
    with pytest.raises(UnknownQueue):
        client.submit("generic", queue="nope")
    with pytest.raises(UnknownParent) as parent:
        client.submit("generic", depends_on=["nope"])
    assert parent.value.task_id == "nope"
    first = client.submit("generic", {"a": 1}, idempotency_key="mine")
    assert client.submit("generic", {"a": 1}, idempotency_key="mine") == first
    with pytest.raises(IdempotencyMismatch):
        client.submit("generic", {"a": 2}, idempotency_key="mine")
    assert redis.llen("rq:queue:default") == 1


def test_no_secret_is_in_reprs_errors_and_logs(
    api: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), Client(api, key=SECRET) as client:
        client.submit("generic", {"password": "hunter2"}, callback_url="https://example.com/done?token=hunter3")
        assert repr(client) == f"Client('{api}')"
        shown = [repr(client), repr(client.__dict__.keys())]
    wrong = Client(api, key="tq_wrong-key")
    with caplog.at_level(logging.DEBUG), wrong, pytest.raises(ApiRefused, match=r"No such key\.") as error:
        wrong.queues()
    assert (error.value.kind, error.value.status) == ("no-key", 401)
    # The test's web server logs into the same place.
    lines = [record.getMessage() for record in caplog.records if record.name != "werkzeug"]
    assert f'HTTP Request: POST {api}/tasks "HTTP/1.1 202 ACCEPTED"' in lines
    text = "".join(lines) + "".join(shown) + str(error.value)
    assert not [secret for secret in (SECRET, "hunter2", "hunter3", "tq_wrong-key") if secret in text]


@pytest.mark.parametrize("url", ["jobs.example.com", "ftp://jobs", "http://", "http://[::1", "http://a/?b=1"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^url must be a URL such as https://jobs\.example\.com; got "):
        Client(url)


def test_a_password_and_a_strange_key_are_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidSetting) as with_password:
        Client("https://ada:s3cret@jobs.example.com")
    with pytest.raises(InvalidSetting) as strange:
        Client("https://jobs.example.com", key="two words")
    assert "s3cret" not in str(with_password.value)
    assert "two words" not in str(strange.value)


def test_an_api_under_a_path(settings: Settings, job_types: JobTypes, tmp_path: Path) -> None:
    app = create_app(settings, job_types)
    app.wsgi_app = DispatcherMiddleware(Response("", 404), {"/of/jobs": app.wsgi_app})  # type: ignore[method-assign]
    with served(app) as url, Client(f"{url}/of/jobs/") as client:
        handles = [client.submit("generic") for _ in range(3)]
        assert [each.id for each in client.list(limit=3)] == [handle.id for handle in reversed(handles)]
        assert handles[0].cancel() == "canceled"
        with pytest.raises(TaskCanceled):
            handles[0].result(timeout=5)
    with served(create_app(settings, job_types)) as url:
        elsewhere = Client(f"{url}/jobs")
        with elsewhere, pytest.raises(ApiRefused, match="answers 404, but is not this API"):
            elsewhere.queues()


def test_an_application_is_called_in_the_process(settings: Settings, job_types: JobTypes) -> None:
    transport = httpx.WSGITransport(app=create_app(settings, job_types))
    with Client("http://localhost", transport=transport) as client:
        assert client.submit("generic").status() == "queued"


def test_threads_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = {handle.id for handle in pool.map(lambda _: client.submit("generic"), range(40))}
    assert len(ids) == 40


def test_a_forked_process_has_connections_of_its_own(client: Client, redis: Redis) -> None:
    client.submit("generic")  # a connection is open
    child = os.fork()
    if child == 0:
        try:
            for _ in range(5):
                client.submit("generic")
        finally:
            os._exit(0)
    for _ in range(5):
        client.submit("generic")
    assert os.waitpid(child, 0)[1] == 0
    assert redis.llen("rq:queue:default") == 11


def test_it_needs_neither_redis_nor_flask_nor_the_settings() -> None:
    code = (
        "import sys, types; package = types.ModuleType('taskqueue'); package.__path__ = ['taskqueue'];"
        "sys.modules['taskqueue'] = package; import taskqueue.client;"
        "print([name for name in ('redis', 'rq', 'flask', 'pydantic', 'urllib3', 'taskqueue.settings')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""What the doctor finds, over HTTP."""

from dataclasses import replace

from flask.testing import FlaskClient

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import free_port
from web import create_app


def test_a_missing_worker_is_found_with_its_fix(client: FlaskClient) -> None:
    answer = client.get("/findings").get_json()
    assert answer["ok"] is False
    (workers,) = [finding for finding in answer["findings"] if finding["about"] == "workers"]
    assert workers["ok"] is False
    assert workers["fix"] == "Start one: python worker.py"
    assert all(finding["fix"] == "" for finding in answer["findings"] if finding["ok"])


def test_a_redis_that_does_not_answer_is_a_finding(settings: Settings, job_types: JobTypes) -> None:
    away = replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    answer = create_app(away, job_types).test_client().get("/findings")
    assert answer.status_code == 200
    (finding,) = answer.get_json()["findings"]
    assert (finding["about"], finding["ok"]) == ("redis", False)

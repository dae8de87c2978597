"""No page and no button fails, in any state of Redis; nothing is unpickled."""

import json
import pickle
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.taskqueue.web.dashboard.stored import (
    ALL_REGISTRIES,
    sweep,
    write_job,
    write_result,
    write_worker,
)


def test_no_page_fails_in_any_state(client: FlaskClient, app: Flask, every_state: list[str]) -> None:
    gets = sweep(app, "GET", every_state, ["default", "low", "unknown"])
    assert len(gets) > 200
    for address in gets:
        with client.get(address, follow_redirects=True) as response:
            assert response.status_code in (200, 404), f"{address}: {response.status_code}"
            if response.status_code == 200 and address.endswith(".json"):
                json.loads(response.data, parse_constant=pytest.fail)  # a browser reads neither NaN nor Infinity


def test_no_button_fails_in_any_state(client: FlaskClient, app: Flask, every_state: list[str]) -> None:
    posts = sweep(app, "POST", every_state, ["default", "low", "unknown"])
    # One job after the other first; "queue" and "requeue" then find what could not be deleted.
    for address in [*(post for post in posts if "/job/" in post and "/requeue" in post), *posts]:
        response = client.post(address)
        assert response.status_code in (200, 404, 409), f"{address}: {response.status_code}"
        assert response.get_json(force=True).get("message" if response.status_code == 200 else "detail")


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/rq/1/view/queues", 404),
        ("/rq/1/data/queues.json", 404),
        ("/rq/0/view/jobs/default/odd/8/asc/1", 404),
        ("/rq/0/view/jobs/default/failed/8/up/1", 400),
        ("/rq/0/view/jobs/default/failed/0/asc/1", 400),
        ("/rq/0/data/jobs/default/failed/8/asc/0.json", 400),
        ("/rq/0/data/jobs/default/failed/-8/asc/1.json", 400),
        ("/rq/0/data/jobs/default/failed/8/asc/x.json", 400),
        (f"/rq/0/data/jobs/default/failed/8/asc/{'9' * 5000}.json", 400),
        (f"/rq/0/data/jobs/default/failed/8/asc/{10**20}.json", 200),
        (f"/rq/0/view/jobs/default/failed/{10**20}/asc/1", 200),
        ("/rq/0/view/job/unknown", 404),
        ("/rq/0/data/job/unknown.json", 404),
        ("/rq/static/unknown.js", 404),
    ],
)
def test_an_address_that_makes_no_sense_is_told(client: FlaskClient, address: str, status: int) -> None:
    response = client.get(address)
    assert response.status_code == status
    if status != 200:
        assert response.content_type.startswith("application/problem" if ".json" in address else "text/html")


class Bomb:
    """An object that touches a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.proof,))


def test_nothing_is_unpickled(client: FlaskClient, app: Flask, redis: Redis, tmp_path: Path) -> None:
    proof = tmp_path / "went off"
    bomb = pickle.dumps(Bomb(proof))
    job_ids = [f"bomb-{registry}" for registry in ALL_REGISTRIES]
    for job_id, registry in zip(job_ids, ALL_REGISTRIES, strict=True):
        write_job(redis, job_id, registry, data=bomb, meta=bomb, result=bomb, exc_info=bomb, webhooks=bomb)
        write_result(redis, job_id, return_value=b64encode(bomb).decode())
        write_worker(redis, f"works-on-{job_id}", Job(job_id, connection=redis, serializer=JSONSerializer))
    for address in sweep(app, "GET", job_ids, ["default"]):
        client.get(address).close()
    posts = sweep(app, "POST", job_ids, ["default"])
    for address in [*(post for post in posts if "/requeue" in post), *posts]:
        client.post(address)
    assert not proof.exists()
    pickle.loads(bomb)
    assert proof.exists()  # it is a bomb

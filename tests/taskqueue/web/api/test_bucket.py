"""A bucket that refuses or hangs (FILES_URL): a 503 that says so, within seconds, and nothing else waits."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from redis import Redis

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import SLACK, wait_until
from tests.deploy.conftest import Web
from tests.taskqueue.web.conftest import problem
from web import create_app


@pytest.fixture
def bucket(env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The settings of a bucket; AWS_ENDPOINT_URL is still to be set."""
    for name, value in {
        "FILES_URL": "s3://files/uploads",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_REGION": "us-east-1",
    }.items():
        env.setenv(name, value)
    return env


@pytest.fixture(params=[400, 401, 403, 404, 503, None])
def refusing(request: pytest.FixtureRequest, bucket: pytest.MonkeyPatch) -> Iterator[None]:
    """A bucket that answers each request with this status; None: nobody listens there."""

    class Refuse(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.send_response(request.param)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_PUT()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        bucket.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port if request.param else 1}")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("refusing")
def test_a_bucket_that_refuses_is_a_503_that_names_it(bucket: pytest.MonkeyPatch, job_types: JobTypes) -> None:
    client = create_app(Settings.read(os.environ), job_types).test_client()
    answer = client.post("/files", data=b"hello")
    assert "s3://files/uploads" in problem(answer, 503)["detail"]
    assert answer.headers["Retry-After"]
    assert "test-secret" not in answer.text


@pytest.mark.usefixtures("refusing")
def test_a_bucket_that_refuses_is_a_warning_of_readyz_that_does_not_name_it(
    bucket: pytest.MonkeyPatch, job_types: JobTypes
) -> None:
    answer = create_app(Settings.read(os.environ), job_types).test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "ok")
    assert [warning["code"] for warning in answer.get_json()["warnings"]] == ["files-unavailable"]
    assert "uploads" not in answer.text


def test_a_folder_that_takes_files_is_no_warning(settings: Settings, tmp_path: Path, job_types: JobTypes) -> None:
    with_files = replace(settings, files_url=f"file://{tmp_path}/files")
    client = create_app(with_files, job_types).test_client()
    wait_until(lambda: client.get("/readyz").get_json() == {"status": "ok"}, what="the look at the folder")
    assert client.get("/files/.probe").status_code == 404


def test_a_bucket_that_hangs_holds_up_nothing_but_files(
    bucket: pytest.MonkeyPatch, redis: Redis, project: Path, tmp_path: Path
) -> None:
    bucket.setenv("WEB_PROCESSES", "1")
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        bucket.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        web = Web(project, log_file=tmp_path / "web.log")
        wait_until(web.answers, what="the web server")

        def ask(method: str, path: str, body: bytes | None = None) -> tuple[int, float]:
            began = time.monotonic()
            connection = HTTPConnection("127.0.0.1", web.port, timeout=60)
            connection.request(method, path, body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
            connection.close()
            return status, time.monotonic() - began

        with ThreadPoolExecutor(60) as pool:
            uploads = [pool.submit(ask, "POST", "/files", b"hello") for _ in range(20)]
            wait_until(lambda: all(upload.running() for upload in uploads))
            asked = [
                pool.submit(ask, method, path, b"{}")
                for method, path in (("POST", "/tasks?task_type=generic"), ("GET", "/readyz")) * 15
            ]
            answers = [each.result() for each in asked]
            assert {status for status, _ in answers} == {202, 200}
            assert max(seconds for _, seconds in answers) < 1.5 * SLACK
            results = [upload.result() for upload in uploads]
        assert {status for status, _ in results} == {503}
        assert max(seconds for _, seconds in results) < 10 * SLACK
        assert [warning["code"] for warning in web.get("/readyz")["warnings"]] == ["files-unavailable"]
        web.stop()

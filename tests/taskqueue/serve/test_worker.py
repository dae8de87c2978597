"""A process of the web server serves its connections by turns."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import RedisServer, wait_until
from tests.deploy.conftest import Web

REQUESTS = 2_000


@pytest.fixture
def web(
    shared_redis: RedisServer, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Web]:
    monkeypatch.setenv("TASK_QUEUE_URL", shared_redis.url)
    monkeypatch.setenv("WEB_PROCESSES", "1")
    server = Web(project, log_file=tmp_path / "web.log")
    wait_until(server.answers, what="the web server")
    yield server
    server.stop()


def test_a_connection_that_never_makes_the_process_wait_holds_up_no_other(web: Web) -> None:
    def ask(path: str, times: int) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        requests = f"{request}\r\n" * (times - 1) + f"{request}Connection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
            sending.submit(connection.sendall, requests.encode())
            while connection.recv(65536):
                pass

    with ThreadPoolExecutor(3) as sending:
        many = sending.submit(ask, "/many", REQUESTS)
        wait_until(lambda: "/many" in web.log(), what="the first of many answers")
        ask("/single", 1)
        many.result()
    lines = web.log().splitlines()
    single = next(number for number, line in enumerate(lines) if "/single" in line)
    behind = [line for line in lines[single:] if "/many" in line]
    assert len(behind) > REQUESTS // 2

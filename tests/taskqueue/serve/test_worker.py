"""A process of the web server serves its connections by turns."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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
    def connect(path: str, times: int) -> socket.socket:
        """Open a connection that asks so many times; Linux accepts it and takes all of it for the process."""
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        connection = socket.create_connection(("127.0.0.1", web.port), timeout=30)
        connection.sendall((f"{request}\r\n" * (times - 1) + f"{request}Connection: close\r\n\r\n").encode())
        return connection

    def read(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    process = re.search(r"Booting worker with pid: (\d+)", web.log())
    assert process
    os.kill(int(process[1]), signal.SIGSTOP)  # so that both have come when it looks
    try:
        many, single = connect("/many", REQUESTS), connect("/single", 1)
    finally:
        os.kill(int(process[1]), signal.SIGCONT)
    with closing(many), closing(single), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, many)
        read(single)
        reading.result()
    lines = web.log().splitlines()
    single_at = next(number for number, line in enumerate(lines) if "/single" in line)
    behind = [line for line in lines[single_at:] if "/many" in line]
    assert len(behind) > REQUESTS // 2

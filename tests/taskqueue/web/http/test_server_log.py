"""The web server's log shows no secrets of requests, and a request cannot forge its lines."""

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from tests.conftest import RedisServer, wait_until
from tests.deploy.conftest import Web


@pytest.fixture
def web(own_redis: RedisServer, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("TASK_QUEUE_URL", own_redis.url)
    monkeypatch.setenv("WEB_PROCESSES", "1")
    server = Web(project, log_file=tmp_path / "web.log")
    wait_until(server.answers, what="the web server")
    yield server
    server.stop()


def ask(web: Web, method: str, path: str, body: bytes = b"") -> int:
    connection = HTTPConnection("127.0.0.1", web.port, timeout=30)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_it_shows_no_secrets_of_an_address(web: Web) -> None:
    last = {
        "task_type": "login",
        "payload": {"user": "u", "password": "LEAK1"},
        "callback_url": "https://a.b/LEAK2",
    }
    task = json.dumps([{"task_type": "generic"}]).encode()
    url = "https://hooks.example.com/T0/LEAK"
    for name in ("on_complete", "on%5Fcomplete", "on_complet"):
        ask(web, "POST", f"/tasks/bulk?atomic=true&{name}={quote(json.dumps(last))}&tail=1", task)
    for name in ("callback_url", "callback%5Furl", "%63allback_url", "callbackurl"):
        ask(web, "POST", f"/tasks?task_type=generic&{name}={quote(url, safe='')}", b"{}")
        ask(web, "POST", f"/tasks?task_type=generic&{name}={url}", b"{}")
    ask(web, "GET", f"/nope?{urlencode({'callback_url': url})}")
    assert ask(web, "GET", "/tasks?limit=7") == 200
    wait_until(lambda: len(re.findall(r" HTTP/1\.1 \d{3} ", web.log())) == 13, what="a line of each request")
    assert "limit=7" in web.log()
    assert "LEAK" not in web.log()
    assert "POST /tasks/bulk?atomic=true&on_complete=…" in web.log()


def test_a_request_forges_no_line(web: Web, own_redis: RedisServer) -> None:
    forged = "x%0a16:00:00%20ERROR%20%20%20FORGED%1b%5b31m%0d%c2%85%e2%80%a8"
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        head = f"PUT /schedules/{forged} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    own_redis.stop()
    assert ask(web, "GET", f"/tasks/{forged}") in (404, 503)
    assert ask(web, "GET", f"/schedules/{forged}") == 503
    wait_until(lambda: "GET /schedules/" in web.log(), what="the line of the last request")
    assert "FORGED" in web.log()
    assert "\x1b" not in web.log()
    assert not any(line.startswith("16:00:00") for line in web.log().splitlines())
    own_redis.start()

"""A request's body over real sockets: all of it is used, within its limits, or nothing is queued or kept."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from redis import Redis

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from tests.conftest import SLACK, RedisServer, wait_until
from tests.deploy.conftest import Web
from tests.taskqueue.web.conftest import served
from web import create_app

BODY_TIMEOUT_SECONDS = 2
TOO_LATE_SECONDS = 4 * BODY_TIMEOUT_SECONDS * SLACK
MIB = 1024 * 1024
SECRET, KEY = new_key("tests", "operate")
JSON = "application/json"
TASK = {"task_type": "generic", "payload": {"n": 1}}
LINES = b"".join(json.dumps(TASK).encode() + b"\n" for _ in range(100))
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + b"x" * 900 + b"\r\n--b--\r\n"
)

BODIES = {  # method, path, Content-Type, a sound body
    "a task": ("POST", "/tasks?task_type=generic", JSON, json.dumps({"text": "x" * 500}).encode() + b" " * 500),
    "lines": ("POST", "/tasks/bulk", "application/x-ndjson", LINES),
    "an array": ("POST", "/tasks/bulk", JSON, json.dumps([TASK] * 20).encode() + b" " * 2000),
    "a file": ("POST", "/files", "text/plain", b"x" * 1000),
    "a form": ("POST", "/files", "multipart/form-data; boundary=b", FORM + b" " * 1000),
    "a schedule": ("PUT", "/schedules/s", JSON, json.dumps(TASK | {"interval": 3600}).encode() + b" " * 1000),
}
LIMITS = {
    "a task": MIB,
    "lines": 32 * MIB,
    "an array": 32 * MIB,
    "a file": 16 * MIB,
    "a form": 17 * MIB,
    "a schedule": MIB,
}


@pytest.fixture(scope="module")
def web(shared_redis: RedisServer, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with running(shared_redis, project, tmp_path_factory.mktemp("web"), BODY_TIMEOUT_SECONDS) as server:
        yield server


@pytest.fixture
def patient_web(shared_redis: RedisServer, project: Path, tmp_path: Path) -> Iterator[Web]:
    """Run a server that still waits for the first of many bodies when the last one has come."""
    with running(shared_redis, project, tmp_path, body_timeout_seconds=10) as server:
        yield server


@contextmanager
def running(redis: RedisServer, project: Path, folder: Path, body_timeout_seconds: int) -> Iterator[Web]:
    with pytest.MonkeyPatch.context() as env:
        env.setenv("TASK_QUEUE_URL", redis.url)
        env.setenv("WEB_PROCESSES", "1")
        env.setenv("API_KEYS", KEY.entry())
        env.setenv("BODY_TIMEOUT_SECONDS", str(body_timeout_seconds))
        server = Web(project, log_file=folder / "web.log")
        wait_until(server.answers, what="the web server")
        yield server
        server.stop()
        assert "Traceback" not in server.log()


def head(kind: str, framing: str, more: str = "") -> bytes:
    method, path, content_type, _ = BODIES[kind]
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {SECRET}\r\n"
        f"Content-Type: {content_type}\r\n{framing}\r\n{more}\r\n"
    ).encode()


def by_length(kind: str, size: int) -> bytes:
    return head(kind, f"Content-Length: {size}")


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def sent(port: int, *pieces: bytes, half_close: bool = True) -> tuple[int, str]:
    """Send these bytes and, as a client does that dies, no more; return the status and the answer's body."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return answer(connection)


def answer(connection: socket.socket) -> tuple[int, str]:
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < _length(data):
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    top, _, body = data.partition(b"\r\n\r\n")
    return int(top.split()[1]), body.decode()


def _length(data: bytes) -> int:
    lines = data.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))


@pytest.mark.parametrize("kind", BODIES)
class TestEveryBody:
    def test_all_of_it_is_used(self, web: Web, redis: Redis, kind: str) -> None:
        body = BODIES[kind][-1]
        whole = [
            (by_length(kind, len(body)), body),
            (head(kind, "Transfer-Encoding: chunked"), chunked(body[:7], body[7:]) + b"0\r\n\r\n"),
            (head(kind, "Transfer-Encoding: chunked"), chunked(body) + b"0\r\nX-Checksum: 1\r\n\r\n"),
        ]
        for parts in whole:
            redis.flushall()
            status, text = sent(web.port, *parts, half_close=False)
            assert status in (200, 201, 202), text
            assert redis.dbsize()

    @pytest.mark.parametrize("gone", [1, 100, 600])
    def test_a_part_of_it_is_an_error(self, web: Web, redis: Redis, kind: str, gone: int) -> None:
        """The client dies before its last bytes: by length, in a chunk, between chunks, before the last chunk."""
        body = BODIES[kind][-1]
        part = body[:-gone]
        broken = [
            (by_length(kind, len(body)), part),
            (head(kind, "Transfer-Encoding: chunked"), b"%x\r\n%s" % (len(body), part)),
            (head(kind, "Transfer-Encoding: chunked"), chunked(part)),
            (head(kind, "Transfer-Encoding: chunked"), chunked(body)),
            (head(kind, "Transfer-Encoding: chunked"), chunked(body) + b"0\r\n"),
            (head(kind, "Transfer-Encoding: chunked"), chunked(body) + b"0\r\nX-Half: "),
        ]
        for parts in broken:
            status, text = sent(web.port, *parts)
            assert (status, json.loads(text)["type"]) == (400, "urn:problem:incomplete-body"), parts[1][-20:]
            assert not redis.keys("*")

    @pytest.mark.parametrize(
        "wrong", [b"zz\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"0\r\nbad trailer\r\n\r\n"]
    )
    def test_broken_chunks_are_an_error(self, web: Web, redis: Redis, kind: str, wrong: bytes) -> None:
        body = BODIES[kind][-1]
        framing = head(kind, "Transfer-Encoding: chunked", "Connection: close\r\n")
        status, text = sent(web.port, framing, chunked(body) + wrong, b"x" * 100_000, half_close=False)
        assert (status, json.loads(text)["type"]) == (400, "urn:problem:incomplete-body")
        assert not redis.keys("*")

    def test_more_than_its_limit_is_a_413(self, web: Web, redis: Redis, kind: str) -> None:
        """Spaces after a sound body: a server that reads only up to the limit would find the body sound."""
        body = BODIES[kind][-1]
        rest = LIMITS[kind] - len(body) + 1
        status, text = sent(web.port, by_length(kind, LIMITS[kind] + 1), body, b" " * rest, half_close=False)
        assert status == 413, text
        spaces = [b" " * min(MIB, rest - start) for start in range(0, rest, MIB)]
        status, text = sent(
            web.port, head(kind, "Transfer-Encoding: chunked"), *map(chunked, [body, *spaces]), b"0\r\n\r\n"
        )
        assert status == 413, text
        assert not redis.keys("*")

    def test_it_must_come_in_time(self, web: Web, redis: Redis, kind: str) -> None:
        body = BODIES[kind][-1]
        with ExitStack() as stack:
            began = time.monotonic()
            silent, slow, chunks = (
                stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=30))
                for _ in range(3)
            )
            silent.sendall(by_length(kind, len(body)) + body[:-1])
            slow.sendall(by_length(kind, len(body)))
            chunks.sendall(head(kind, "Transfer-Encoding: chunked"))
            slow.settimeout(0.05)
            for byte in body:  # a byte now and then, for longer than it is given
                try:
                    early = slow.recv(1, socket.MSG_PEEK)
                except TimeoutError:
                    slow.sendall(bytes([byte]))
                    chunks.sendall(chunked(bytes([byte])))
                    early = b""
                if early or time.monotonic() - began > TOO_LATE_SECONDS:
                    break
            for connection in (silent, slow, chunks):
                status, text = answer(connection)
                assert (status, json.loads(text)["type"]) == (408, "urn:problem:body-timeout")
            assert time.monotonic() - began < TOO_LATE_SECONDS
        assert not redis.keys("*")


def test_a_half_body_leaves_its_idempotency_key_free(web: Web, redis: Redis) -> None:
    framing = head("lines", f"Content-Length: {len(LINES)}", "Idempotency-Key: k1\r\n")
    assert sent(web.port, framing, LINES[:-400])[0] == 400
    with closing(socket.create_connection(("127.0.0.1", web.port))) as connection:
        connection.sendall(framing + LINES[:-400])
    status, text = sent(web.port, framing, LINES)
    assert (status, json.loads(text)["queued"]) == (202, 100)
    assert redis.llen("rq:queue:default") == 100


@pytest.mark.parametrize("mib", [2, 20, 64])
@pytest.mark.parametrize(
    ("path", "with_key", "status"),
    [
        ("/tasks?task_type=generic", True, 413),
        ("/tasks?task_type=generic", False, 401),
        ("/tasks?task_typ=generic", True, 400),
        ("/files?filenam=x", True, 400),
        ("/files", False, 401),
        ("/nope", False, 404),
        ("/healthz", False, 405),
        ("/requeue?x=1", True, 400),
    ],
)
def test_a_client_that_sends_all_before_it_reads_sees_its_answer(
    web: Web, path: str, with_key: bool, status: int, mib: int
) -> None:
    """urllib says `Connection: close`: its answer would be lost if the server closed with bytes unread."""
    headers = {"Content-Type": JSON} | ({"Authorization": f"Bearer {SECRET}"} if with_key else {})
    request = urllib.request.Request(f"http://127.0.0.1:{web.port}{path}", b"x" * mib * MIB, headers)
    if path.startswith("/files") and with_key:
        status = 400 if mib < 16 else 413
    for _ in range(3):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == status
        refused.value.close()


def test_bodies_that_lack_their_last_byte_take_bounded_memory(patient_web: Web, redis: Redis) -> None:
    web, size = patient_web, 15 * MIB
    with ExitStack() as stack:
        unfinished, clients = by_length("a file", size) + b"x" * (size - 1), []
        for _ in range(12):  # each connects when it sends: one that is silent for 2 s is closed
            client = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=30))
            client.sendall(unfinished)
            clients.append(client)
        small = BODIES["a task"][-1]
        assert sent(web.port, by_length("a task", len(small)), small, half_close=False)[0] == 202
        statuses = [answer(client)[0] for client in clients]
    assert set(statuses) <= {408, 503}
    assert 503 in statuses  # 180 MiB at the same time
    status, text = sent(web.port, by_length("a file", size), b"x" * size, half_close=False)
    assert status == 201, text  # their room is free again


def test_requests_follow_one_another_on_one_connection_though_bodies_stay_unread(web: Web, redis: Redis) -> None:
    unread = b"x" * 300_000
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        for _ in range(3):
            connection.sendall(
                b"POST /nope HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(unread) + unread
            )
            assert answer(connection)[0] == 404
            body = BODIES["a task"][-1]
            connection.sendall(by_length("a task", len(body)) + body)
            assert answer(connection)[0] == 202


@pytest.mark.parametrize("kind", ["many keys", "many lists", "chunks of a byte"])
def test_a_body_that_takes_much_work_holds_up_no_other_request(web: Web, redis: Redis, kind: str) -> None:
    items = {
        "many keys": [{"task_type": "generic", "payload": {f"k{n}": n for n in range(60_000)}}] * 30,
        "many lists": [{"task_type": "generic", "payload": {"a": [[]] * 260_000}}] * 28,
        "chunks of a byte": [TASK] * 30_000,
    }[kind]
    body = json.dumps(items).encode()
    pieces = [by_length("an array", len(body)), body]
    if kind == "chunks of a byte":
        in_chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        pieces = [head("an array", "Transfer-Encoding: chunked"), in_chunks + b"0\r\n\r\n"]
    ended = Event()
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(sent, web.port, *pieces, half_close=False)
        busy.add_done_callback(lambda _: ended.set())
        seconds = []
        while not ended.wait(0.05):
            began = time.monotonic()
            assert web.answers()
            seconds.append(time.monotonic() - began)
    assert busy.result()[0] == (413 if kind == "chunks of a byte" else 202)  # 10,000 tasks at most
    assert seconds
    # On a busy machine the work takes a minute, in which this process stalls, too: one look in 20 may be late.
    assert sorted(seconds)[-1 - len(seconds) // 20] < 1 * SLACK


def test_a_server_with_threads_keeps_the_same_promises(
    settings: Settings, job_types: JobTypes, redis: Redis
) -> None:
    app = create_app(replace(settings, body_timeout_seconds=1, api_keys=(KEY,)), job_types)
    with served(app) as site:
        port = int(site.rpartition(":")[2])
        for kind in BODIES:
            body = BODIES[kind][-1]
            assert sent(port, by_length(kind, len(body)), body[:-1])[0] == 400
            assert sent(port, head(kind, "Transfer-Encoding: chunked"), chunked(body))[0] == 400
            assert sent(port, by_length(kind, len(body)), body[:-1], half_close=False)[0] == 408
            assert not redis.keys("*")

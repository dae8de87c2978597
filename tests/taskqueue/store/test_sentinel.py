"""Redis over TLS, and Redis behind Sentinel that fails over: real servers, a real worker."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis import Redis
from redis.exceptions import RedisError
from redis.sentinel import SentinelConnectionPool

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import QueueUnavailable
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.programs.redis_server import redis_command
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from tests.conftest import free_port, wait_until

PASSWORD = "a%2Fb"  # as a URL has it


class Servers:
    """Redis servers and sentinels of one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *options: str, port: int | None = None) -> int:
        port = port or free_port()
        folder = self._folder / str(port)
        folder.mkdir()
        with (folder / "log").open("wb") as log:
            self.processes[port] = subprocess.Popen(
                [*redis_command(port, folder), *options], stdout=log, stderr=log
            )
        return port

    def start_sentinel(self, master: int) -> int:
        port = free_port()
        file = self._folder / f"sentinel-{port}.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {master} 2\n"
            "sentinel auth-pass mymaster a/b\nsentinel down-after-milliseconds mymaster 500\n"
            "sentinel failover-timeout mymaster 2000\n"
        )
        program = redis_command(port, self._folder)[0]
        with file.with_suffix(".log").open("wb") as log:
            self.processes[port] = subprocess.Popen([program, str(file), "--sentinel"], stdout=log, stderr=log)
        return port

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(tmp_path)
    yield servers
    servers.stop()


@pytest.fixture
def worker(project: Path, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Start a worker of the Redis at a URL."""
    started = []

    def start(url: str) -> None:
        with (tmp_path / "worker.log").open("w") as log:
            command = [sys.executable, "worker.py", "--horses", "1"]
            started.append(
                subprocess.Popen(command, cwd=project, env=os.environ | {"TASK_QUEUE_URL": url}, stderr=log)
            )

    yield start
    for process in started:
        process.terminate()
        process.wait(40)


@pytest.fixture
def queue_at(job_types: JobTypes) -> Iterator[Callable[[str], TaskQueue]]:
    """Tasks in the Redis at a URL."""
    connections: list[Redis] = []

    def connect(url: str) -> TaskQueue:
        settings = Settings.read({"TASK_QUEUE_URL": url})
        connections.append(connect_for_requests(settings.redis_url))
        return TaskQueue(connections[-1], settings, job_types)

    yield connect
    for connection in connections:
        connection.close()
        pool = connection.connection_pool
        for sentinel in pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else ():
            sentinel.close()


QueueAt = Callable[[str], TaskQueue]


def succeeds(ask: Callable[[], object]) -> bool:
    with suppress(RedisError, QueueUnavailable):
        return bool(ask())
    return False


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "redis.crt", folder / "redis.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def test_a_job_over_tls_with_a_password(
    servers: Servers, worker: Callable[[str], None], queue_at: QueueAt, tmp_path: Path
) -> None:
    certificate, key = write_certificate(tmp_path)
    port = free_port()
    servers.start(
        *("--port", "0", "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-auth-clients", "no", "--requirepass", "a/b"),
        port=port,
    )
    url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
    queue = queue_at(f"{url}?ssl_ca_certs={certificate}")
    wait_until(lambda: succeeds(lambda: queue.submit("generic", {})), what="Redis")
    worker(f"{url}?ssl_ca_certs={certificate}")
    task = queue.submit("generic", {"over": "TLS"})
    wait_until(lambda: queue.get(task.id).result == {"over": "TLS"}, what="the task")
    with pytest.raises(QueueUnavailable):  # a certificate that nobody known to us has signed
        queue_at(url).submit("generic", {})


def test_jobs_go_on_after_sentinel_has_failed_over(
    servers: Servers, worker: Callable[[str], None], queue_at: QueueAt
) -> None:
    login = ("--requirepass", "a/b", "--masterauth", "a/b")
    master = servers.start(*login)
    replica = servers.start(*login, "--replicaof", "127.0.0.1", str(master))
    with Redis(port=replica, password="a/b") as asked:
        wait_until(
            lambda: succeeds(lambda: asked.info("replication")["master_link_status"] == "up"), what="the replica"
        )
    sentinels = [servers.start_sentinel(master) for _ in range(3)]
    for sentinel in sentinels:
        with Redis(port=sentinel) as asked:
            wait_until(
                lambda asked=asked: succeeds(lambda: _sees(asked, replicas=1, sentinels=2)),
                what="the sentinels to know each other",
            )
    hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
    url = f"redis+sentinel://:{PASSWORD}@{hosts}/mymaster/0"
    queue = queue_at(url)
    worker(url)
    before = queue.submit("generic", {"number": 1})
    wait_until(lambda: queue.get(before.id).status == "complete", what="the first task")
    with Redis(port=master, password="a/b") as asked:
        asked.set("test:last", 1)
        wait_until(lambda: asked.wait(1, 1000) == 1, what="the replica to have all until here")
    servers.processes[master].kill()
    wait_until(lambda: succeeds(lambda: queue.submit("generic", {})), what="the new master")
    after = queue.submit("generic", {"number": 2})
    wait_until(lambda: succeeds(lambda: queue.get(after.id).status == "complete"), what="the second task")
    assert queue.get(before.id).result == {"number": 1}
    with Redis(port=replica, password="a/b") as asked:
        assert asked.info("replication")["role"] == "master"


def _sees(sentinel: Redis, replicas: int, sentinels: int) -> bool:
    state = sentinel.execute_command("SENTINEL", "MASTER", "mymaster")
    state = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
    known = {
        (name.decode() if isinstance(name, bytes) else name): int(number)
        for name, number in state.items()
        if name in (b"num-slaves", b"num-other-sentinels", "num-slaves", "num-other-sentinels")
    }
    return known == {"num-slaves": replicas, "num-other-sentinels": sentinels}


@pytest.mark.parametrize("url", ["redis+sentinel://a:26379", "redis+sentinel://:secret@a:26379,b:x/mymaster"])
def test_a_wrong_url_is_told_without_its_password(url: str) -> None:
    with pytest.raises(Exception, match="TASK_QUEUE_URL") as error:
        Settings.read({"TASK_QUEUE_URL": url})
    assert "secret" not in str(error.value)

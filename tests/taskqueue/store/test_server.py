"""A Redis that cannot be used at all is found at the start, with one sentence that says why and what to do."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import QueueUnavailable
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.monitor.health import Probe
from taskqueue.monitor.prometheus import PrometheusReport
from taskqueue.monitor.queue_warnings import QueueWarnings
from taskqueue.programs.redis_server import redis_command
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.store.server import RIGHTS, why_unusable
from tests.conftest import RedisServer, answers, free_port, wait_until

StartRedis = Callable[..., str]


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    """Start a Redis with more options, and return its URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> str:
        port = free_port()
        started.append(subprocess.Popen([*redis_command(port, tmp_path), *options], stdout=subprocess.DEVNULL))
        with Redis(port=port) as connection:
            wait_until(lambda: answers(connection), what="Redis")
        return f"redis://127.0.0.1:{port}/0"

    yield start
    for process in started:
        process.terminate()
        process.wait()


@pytest.fixture
def url_of_user(redis: Redis, shared_redis: RedisServer) -> Iterator[Callable[[str], str]]:
    """Return the URL of a Redis user who has these rights only."""

    def url(rights: str) -> str:
        redis.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rights.split())
        return shared_redis.url.replace("redis://", "redis://app:pw@")

    yield url
    redis.acl_deluser("app")


def worker_that_starts(project: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "worker.py", "--burst", "--horses", "1"],
        cwd=project, env={"TASK_QUEUE_URL": url}, text=True, timeout=60, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--rename-command", "LMPOP", ""), "this Redis has no LMPOP; Redis 7.0 or newer, or Valkey, is needed"),
        (("--rename-command", "BLMOVE", ""), "this Redis refuses what is needed (unknown command"),
        (
            ("--cluster-enabled", "yes"),
            "this Redis is in cluster mode, in which no script can use all keys",
        ),
    ],
)
def test_a_server_that_cannot_be_used_stops_the_start(
    start_redis: StartRedis, project: Path, options: tuple[str, ...], sentence: str
) -> None:
    url = start_redis(*options)
    done = worker_that_starts(project, url)
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert f"worker.py: TASK_QUEUE_URL: {sentence}" in done.stdout
    with pytest.raises(QueueUnavailable) as unready:
        Probe(url).check_takes_work()
    assert sentence in str(unready.value)


@pytest.mark.parametrize(
    ("rights", "what"),
    [
        ("~* +@all", "PUBLISH: "),
        ("~* &tq:* +@all", "channel"),
        ("~* &* +@all -@scripting", "'eval'"),
        ("~rq:* &* +@all", "key"),
        ("~tq:* &* +@all", "key"),
        ("~* &* +@all -@blocking", "'blmove'"),
        ("~* &* +@all -multi", "'multi'"),
        ("~* &* +@all -zadd", "ZADD: "),
    ],
)
def test_a_user_without_a_right_that_is_needed_stops_the_start(
    url_of_user: Callable[[str], str], project: Path, rights: str, what: str
) -> None:
    url = url_of_user(rights)
    done = worker_that_starts(project, url)
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert "worker.py: TASK_QUEUE_URL: the Redis user has too few rights (" in done.stdout
    assert what in done.stdout
    assert RIGHTS in done.stdout
    with pytest.raises(QueueUnavailable, match="too few rights"):
        Probe(url).check_takes_work()


def test_the_rights_of_the_documents_are_enough_for_all(
    url_of_user: Callable[[str], str], redis: Redis, project: Path, job_types: JobTypes
) -> None:
    url = url_of_user(RIGHTS)
    assert RIGHTS in (Path(__file__).parents[3] / "docs" / "access.md").read_text()
    with connect_for_requests(url) as connection:
        queue = TaskQueue(connection, Settings(redis_url=url), job_types)
        tasks = [
            queue.submit("generic", {}),
            queue.submit("generic", {}, SubmitOptions(tags=("x",), dedupe="k", queue="high")),
            queue.submit("misnamed", {}, SubmitOptions(attempts=1)),
        ]
        done = worker_that_starts(project, url)
        assert done.returncode == 0, done.stdout
        assert [queue.get(task.id).status for task in tasks] == ["complete", "complete", "failed"]
        assert "refuse" not in done.stdout
        assert b"taskqueue_redis_memory_bytes" in PrometheusReport(connection, ["default"]).metrics()
    Probe(url).check_takes_work()


def test_a_missing_info_costs_that_alone(url_of_user: Callable[[str], str], redis: Redis) -> None:
    url = url_of_user(RIGHTS.removesuffix(" +info"))
    Probe(url).check_takes_work()
    with connect_for_requests(url) as connection:
        assert why_unusable(connection) is None
        metrics = PrometheusReport(connection, ["default"]).metrics()
        assert (b"taskqueue_workers" in metrics, b"taskqueue_redis_" in metrics) == (True, False)
        codes = [finding.code for finding in QueueWarnings(connection, ["default"]).of("default")]
        assert "no-worker" in codes
        assert "not-persistent" not in codes

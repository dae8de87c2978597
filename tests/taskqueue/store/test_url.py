"""A URL of Redis that cannot be used is refused before anything connects, by option and without its values."""

import pytest
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidSetting, QueueUnavailable
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.store.keys import INDEX, QUEUES, queue_key
from tests.conftest import RedisServer


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://h/0?family=0", "there is no option 'family'; take it out"),
        ("redis://h/0?timeout=5", "there is no option 'timeout'"),
        ("redis://h/0?ssl_cert_reqs=none", "there is no option 'ssl_cert_reqs'"),
        ("redis://h/0?a%20b=secret", "there is no option of this name"),
        ("redis://h/0?db=x", "the option 'db' must be a whole number from 0 on"),
        ("redis://h/0?max_connections=0", "the option 'max_connections' must be a whole number from 1 on"),
        ("redis://h/0?socket_timeout=abc", "the option 'socket_timeout' must be a number of seconds above 0"),
        ("redis://h/0?socket_timeout=nan", "the option 'socket_timeout' must be a number of seconds above 0"),
        ("redis://h/0?socket_connect_timeout=-1", "the option 'socket_connect_timeout' must be a number"),
        ("redis://h/0?decode_responses=True", "the option 'decode_responses' is set by the task queue itself"),
        ("redis://h/0?protocol=3", "the option 'protocol' is set by the task queue itself; take it out"),
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", "the option 'ssl_cert_reqs' must be none, optional or required"),
        ("rediss://h/0?ssl_ca_certs=/no/such/file", "the option 'ssl_ca_certs' names a file that does not exist"),
        ("rediss://h/0?ssl_exclude_verify_flags=secret", "one of its options cannot be used"),
        ("rediss://h/0?ssl_min_version=secret", "one of its options cannot be used"),
        ("redis://h/zero", "the database must be a number, as in redis://localhost:6379/0"),
        ("redis://h/0/1", "the database must be a number"),
        ("redis+sentinel://h/mymaster/zero", "the database must be a number"),
        ("redis+sentinel://h/mymaster/0?family=0", "there is no option 'family'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(url: str, reason: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        Settings.read({"TASK_QUEUE_URL": url})
    assert str(refusal.value).startswith(f"TASK_QUEUE_URL: {reason}")
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:6379/",
        "redis://user:p%40ss@h/3?socket_timeout=5.5&health_check_interval=0&socket_keepalive=yes&client_name=x",
        "redis://[::1]:6379/0?max_connections=50&retry_on_timeout=true",
        "rediss://h/0?ssl_exclude_verify_flags=VERIFY_X509_STRICT",
        "rediss://h/0?ssl_cert_reqs=none&ssl_check_hostname=false&ssl_ca_path=/tmp",
        "unix:///run/redis/redis.sock?db=2",
        "redis+sentinel://a:26379,b/mymaster/0?sentinel_password=x&socket_timeout=1",
    ],
)
def test_what_can_be_used_is_taken(url: str) -> None:
    assert Settings.read({"TASK_QUEUE_URL": url}).redis_url == url


def test_the_options_of_a_connection_that_is_handed_over_do_no_harm(
    shared_redis: RedisServer, redis: Redis
) -> None:
    own = Redis.from_url(f"{shared_redis.url}?decode_responses=True&protocol=3&encoding=utf-16")
    with own, connect_for_requests(own) as connection:
        connection.xadd("stream", {"a": "ü"})
        [[name, [(_, fields)]]] = connection.xread({"stream": "0"})
        assert (name, fields) == (b"stream", {b"a": "ü".encode()})


@pytest.mark.parametrize("key", [queue_key("default"), QUEUES, INDEX, f"{INDEX}:tag:x", "tq:dedupe:generic:k"])
def test_what_a_wrong_type_refuses_is_not_queued_and_said_to_be_not(
    queue: TaskQueue, redis: Redis, key: str
) -> None:
    redis.hset(key, "x", "y")
    before = {name: redis.dump(name) for name in redis.keys("*")}
    with pytest.raises(QueueUnavailable, match="WRONGTYPE") as refusal:
        queue.submit("generic", {}, SubmitOptions(tags=("x",), dedupe="k"))
    assert refusal.value.task_id is None
    left = {name for name in redis.keys("*") if name not in before} - {b"rq:queues", b"tq:index:tags"}
    assert not any(redis.type(name) in (b"hash", b"list", b"string") for name in left)
    assert redis.llen(queue_key("default")) == 0 if key != queue_key("default") else True


def test_what_a_missing_right_refuses_is_not_queued_and_said_to_be_not(
    redis: Redis, shared_redis: RedisServer, job_types: JobTypes
) -> None:
    redis.acl_setuser("reader", enabled=True, passwords="+pw", keys="*", commands=["+@read", "+ping"])
    url = shared_redis.url.replace("redis://", "redis://reader:pw@")
    with connect_for_requests(url) as connection, pytest.raises(QueueUnavailable, match="refused") as refusal:
        TaskQueue(connection, Settings(redis_url=url), job_types).submit("generic", {})
    assert refusal.value.task_id is None
    assert redis.dbsize() == 0

"""Many commands in one transaction, on a real Redis."""

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from taskqueue.store.connection import connect_for_requests
from taskqueue.store.transaction import packed, transact
from tests.conftest import RedisServer, wait_until

LOAD = packed("SCRIPT", "LOAD", "return ARGV[1]")


def test_the_answers_are_those_of_the_commands(redis: Redis) -> None:
    commands = [packed("RPUSH", "list", "ü", 1, 2.5, b"\xff"), packed("LRANGE", "list", 0, -1), packed("GET", "x")]
    assert transact(redis, LOAD, commands) == [4, ["ü".encode(), b"1", b"2.5", b"\xff"], None]


def test_the_first_error_is_raised_and_the_connection_goes_on(redis: Redis) -> None:
    redis.set("text", "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        transact(redis, LOAD, [packed("INCR", "n"), packed("RPUSH", "text", 1)])
    with pytest.raises(ResponseError, match="unknown command"):
        transact(redis, LOAD, [packed("INCR", "m"), packed("NOSUCHCOMMAND")])
    assert redis.get("m") is None  # Redis has run nothing
    assert transact(redis, LOAD, [packed("INCR", "m")]) == [1]


def test_what_has_no_answer_in_time_is_not_sent_again(redis: Redis, shared_redis: RedisServer) -> None:
    with connect_for_requests(shared_redis.url) as hurried:
        hurried.connection_pool.connection_kwargs["socket_timeout"] = 0.1
        hurried.ping()
        redis.execute_command("CLIENT", "PAUSE", 400, "ALL")
        with pytest.raises(RedisTimeoutError):
            transact(hurried, LOAD, [packed("RPUSH", "list", 1)])
    redis.ping()  # Redis answers again
    wait_until(lambda: redis.info("clients")["blocked_clients"] == 0, 5, "the pause to end")
    assert redis.llen("list") <= 1

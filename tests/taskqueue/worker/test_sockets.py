"""The answers on a connection of redis-py, read without its bookkeeping."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from taskqueue.worker.sockets import Answers

Ends = tuple[socket.socket, Answers]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """What Redis writes to, and the answers as they arrive."""
    redis, ours = socket.socketpair()
    with redis, ours:
        ours.settimeout(0.05)
        yield redis, Answers(cast("Connection", SimpleNamespace(_sock=ours)))


def test_answers_come_in_their_order_however_they_are_cut(ends: Ends) -> None:
    redis, answers = ends
    redis.sendall(b"$3\r\none\r\n*2\r\n$3\r\nt")
    assert answers.read() == b"one"
    redis.sendall(b"wo\r\n:3\r\n$-1\r\n")
    read: list[Any] = [answers.read(), answers.read()]
    assert read == [[b"two", 3], None]


def test_an_error_of_redis_is_an_answer(ends: Ends) -> None:
    redis, answers = ends
    redis.sendall(b"-WRONGTYPE no list\r\n+OK\r\n")
    error = answers.read()
    assert isinstance(error, ResponseError)
    assert str(error) == "WRONGTYPE no list"
    assert answers.read() == b"OK"


def test_what_redis_tells_of_its_maintenance_is_no_answer(ends: Ends) -> None:
    redis, answers = ends
    redis.sendall(b">3\r\n$6\r\nMOVING\r\n:1\r\n:15\r\n+OK\r\n")
    assert answers.read() == b"OK"


def test_a_connection_that_ends_or_falls_silent_within_an_answer_is_an_error(ends: Ends) -> None:
    redis, answers = ends
    redis.sendall(b"$3\r\no")
    with pytest.raises(RedisConnectionError, match="no answer could be read: timed out"):
        answers.read()
    redis.close()
    with pytest.raises(RedisConnectionError, match="Redis has closed the connection"):
        answers.read()

"""Two connections for many callers: each gets its own answer or its own error, and those that wait go together."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from taskqueue.store.connection import connect_for_requests
from taskqueue.store.scripts import Call, FastScript
from taskqueue.store.shared_connection import MAX_LEADERS, TRUSTED_SECONDS, NotSent, SharedConnection
from taskqueue.store.transaction import packed
from tests.conftest import ROOT, RedisServer, wait_until

CALLERS = 20


@pytest.fixture
def redis(own_redis: RedisServer) -> Iterator[Redis]:
    """A connection to a Redis that a test may freeze."""
    with Redis.from_url(own_redis.url) as connection:
        yield connection
    own_redis.send_signal(signal.SIGCONT)


@pytest.fixture
def shared(own_redis: RedisServer) -> SharedConnection:
    return SharedConnection(connect_for_requests(own_redis.url).connection_pool)


def waiting(shared: SharedConnection) -> int:
    return len(shared._waiting)


def test_each_caller_gets_its_own_answers(shared: SharedConnection) -> None:
    def ask(number: int) -> None:
        for turn in range(100):
            words = [f"{number} {turn}", f"{turn} {number}"]
            answers = shared.ask(b"".join(packed("ECHO", word) for word in words), 2)
            assert answers == [word.encode() for word in words]

    with ThreadPoolExecutor(CALLERS) as threads:
        list(threads.map(ask, range(CALLERS)))


def test_calls_that_wait_share_one_write_and_one_read(
    shared: SharedConnection, own_redis: RedisServer, redis: Redis
) -> None:
    shared.ask(packed("PING"))
    own_redis.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(MAX_LEADERS) as threads:
        pings = [threads.submit(shared.ask, packed("PING")) for _ in range(MAX_LEADERS)]
        wait_until(lambda: shared._leaders == MAX_LEADERS, what="all connections")
        own_redis.send_signal(signal.SIGCONT)
        assert all(ping.result() == [b"PONG"] for ping in pings)
    before = redis.info("stats")["total_reads_processed"]
    own_redis.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(CALLERS) as threads:
        answers = [threads.submit(shared.ask, packed("INCR", "n")) for _ in range(CALLERS)]
        wait_until(lambda: waiting(shared) == CALLERS - MAX_LEADERS, what="the callers")
        own_redis.send_signal(signal.SIGCONT)
        assert sorted(answer.result()[0] for answer in answers) == list(range(1, CALLERS + 1))
    reads = redis.info("stats")["total_reads_processed"] - before
    assert reads <= 2 * MAX_LEADERS + 1  # those that came first, all others in as many groups, INFO


def test_a_forked_process_begins_without_the_calls_of_its_parent(
    shared: SharedConnection, own_redis: RedisServer, redis: Redis
) -> None:
    shared.ask(packed("PING"))
    own_redis.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(MAX_LEADERS) as threads:
        pings = [threads.submit(shared.ask, packed("PING")) for _ in range(MAX_LEADERS)]
        wait_until(lambda: shared._leaders == MAX_LEADERS, what="all connections")
        child = os.fork()
        if child == 0:  # its Redis answers again below
            os._exit(0 if shared.ask(packed("ECHO", "child")) == [b"child"] else 1)
        own_redis.send_signal(signal.SIGCONT)
        assert [ping.result() for ping in pings] == [[b"PONG"]] * MAX_LEADERS
    assert os.waitpid(child, 0)[1] == 0


def test_an_error_of_redis_is_one_callers_own(
    shared: SharedConnection, own_redis: RedisServer, redis: Redis
) -> None:
    redis.set("text", "x")
    own_redis.send_signal(signal.SIGSTOP)
    calls = [packed("INCR", "text"), packed("INCR", "number")] * 5
    with ThreadPoolExecutor(CALLERS) as threads:
        asked = [threads.submit(shared.ask, call) for call in calls]
        wait_until(lambda: waiting(shared) == len(calls) - MAX_LEADERS, what="the callers")
        own_redis.send_signal(signal.SIGCONT)
        answers = [one.result()[0] for one in asked]
    assert all(isinstance(answer, ResponseError) for answer in answers[::2])
    assert sorted(answers[1::2]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("end", [signal.SIGKILL, None])
def test_a_lost_connection_is_an_error_of_each(
    shared: SharedConnection, own_redis: RedisServer, redis: Redis, end: signal.Signals | None
) -> None:
    """Redis dies, or hangs for longer than a request waits."""
    shared.ask(packed("PING"))
    own_redis.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(CALLERS) as threads:
        asked = [threads.submit(shared.ask, packed("INCR", "n")) for _ in range(CALLERS)]
        wait_until(lambda: waiting(shared) == CALLERS - MAX_LEADERS, what="the callers")
        if end:
            own_redis.send_signal(end)
            own_redis.stop()
        errors = [one.exception() for one in asked]
    kinds = {type(error.__cause__ if isinstance(error, NotSent) else error) for error in errors}
    assert kinds == {RedisConnectionError if end else RedisTimeoutError}
    assert len({id(error) for error in errors}) == CALLERS
    if end:
        own_redis.start()
    own_redis.send_signal(signal.SIGCONT)
    assert shared.ask(packed("PING")) == [b"PONG"]


def test_a_call_that_finds_no_redis_was_not_sent(shared: SharedConnection, own_redis: RedisServer) -> None:
    own_redis.stop()
    with pytest.raises(NotSent) as caught:
        shared.ask(packed("PING"))
    assert isinstance(caught.value.__cause__, RedisConnectionError)
    own_redis.start()
    assert shared.ask(packed("PING")) == [b"PONG"]


def test_a_connection_that_redis_closed_is_found_before_the_next_call(
    shared: SharedConnection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.ask(packed("PING"))
    redis.client_kill_filter(_type="normal", skipme=True)
    monkeypatch.setattr(shared, "_idle", [(each, used_at - TRUSTED_SECONDS) for each, used_at in shared._idle])
    assert shared.ask(packed("PING")) == [b"PONG"]


def test_a_script_is_sent_again_on_a_connection_that_redis_has_just_closed(
    own_redis: RedisServer, redis: Redis
) -> None:
    connection = connect_for_requests(own_redis.url)
    script = FastScript(connection, "quota", shared=SharedConnection(connection.connection_pool))
    call = Call(["tq:calls:x"], [10, 60, 1])
    assert script(call)[0] == 1  # it is not known to Redis, and sent whole
    redis.client_kill_filter(_type="normal", skipme=True)
    assert script(call)[0] == 1
    redis.script_flush()
    assert script(call)[0] == 1


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, random, sys
from redis.exceptions import ConnectionError
from taskqueue.store.connection import connect_for_requests
from taskqueue.store.shared_connection import SharedConnection
from taskqueue.store.transaction import packed
shared = SharedConnection(connect_for_requests(sys.argv[1]).connection_pool)
def ask():
    for number in range(50):
        try:
            assert shared.ask(packed("ECHO", str(number))) == [str(number).encode()]
        except ConnectionError:  # the request that sent it for this one was killed
            pass
for _ in range(50):
    asking = [gevent.spawn(ask) for _ in range(20)]
    for greenlet in random.sample(asking, 15):
        gevent.sleep(random.random() / 1000)
        greenlet.kill()
    gevent.joinall(asking, timeout=20, raise_error=True)
    assert all(greenlet.ready() for greenlet in asking)
print(shared.ask(packed("ECHO", "in order")))
"""


def test_callers_that_are_killed_hold_up_no_other(own_redis: RedisServer) -> None:
    """gunicorn kills requests that outlive its graceful timeout. In a process of its own, which gevent patches."""
    done: Any = subprocess.run(
        [sys.executable, "-c", GREENLETS, own_redis.url], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "[b'in order']\n", done.stderr

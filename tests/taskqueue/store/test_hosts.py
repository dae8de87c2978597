"""The state of hosts that did not answer, in a real Redis."""

import pytest
from redis import Redis

from taskqueue.store.hosts import (
    FIRST_PAUSE_SECONDS,
    KEPT_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MAX_HOSTS,
    SHOWN,
    Host,
    Hosts,
)

MAIL = Host("mail", "smtp.example", 25)
KEY = "tq:host:mail:smtp.example:25"


@pytest.fixture
def hosts(redis: Redis) -> Hosts:
    return Hosts(redis)


def end_pause(redis: Redis) -> None:
    redis.hset(KEY, "until", 1)


def test_a_host_that_has_not_failed_may_be_asked_and_leaves_nothing_in_redis(hosts: Hosts, redis: Redis) -> None:
    assert hosts.enter(MAIL).is_open
    assert redis.keys("tq:host*") == []


def test_after_a_failure_no_task_asks_and_all_see_why(hosts: Hosts) -> None:
    hosts.failed(MAIL, 0, "did not answer in 10 s")
    pause = hosts.enter(MAIL)
    assert (pause.state, pause.failures, pause.why) == ("paused", 1, "did not answer in 10 s")
    assert FIRST_PAUSE_SECONDS - 1 < pause.seconds <= FIRST_PAUSE_SECONDS
    assert hosts.enter(Host("mail", "smtp.example", 587)).is_open
    assert hosts.enter(Host("feed", "smtp.example", 25)).is_open


def test_after_a_pause_one_task_asks_and_the_others_wait(hosts: Hosts, redis: Redis) -> None:
    hosts.failed(MAIL, 0, "refused the connection")
    end_pause(redis)
    assert hosts.look(MAIL).is_open
    assert [hosts.enter(MAIL).state for _ in range(3)] == ["open", "asked", "asked"]
    end_pause(redis)  # the task that asked has died
    assert [hosts.enter(MAIL).state for _ in range(2)] == ["open", "asked"]


def test_pauses_grow_to_a_bound(hosts: Hosts, redis: Redis) -> None:
    pauses = []
    for _ in range(9):
        seen = hosts.enter(MAIL).failures
        pauses.append(hosts.failed(MAIL, seen, "refused the connection").seconds)
        assert redis.ttl(KEY) == pytest.approx(pauses[-1] + KEPT_SECONDS, abs=2)
        end_pause(redis)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_tasks_that_failed_at_the_same_time_count_as_one(hosts: Hosts) -> None:
    seen = [hosts.enter(MAIL).failures for _ in range(4)]
    pauses = [hosts.failed(MAIL, failures, "did not answer in 10 s") for failures in seen]
    assert {pause.failures for pause in pauses} == {1}
    assert hosts.enter(MAIL).seconds <= FIRST_PAUSE_SECONDS


def test_a_host_that_answers_is_forgotten(hosts: Hosts, redis: Redis) -> None:
    hosts.failed(MAIL, 0, "refused the connection")
    hosts.answered(MAIL)
    assert hosts.enter(MAIL) == ("open", 0, 0.0, "", 0.0)
    assert redis.keys("tq:host*") == []


def test_the_paused_hosts_are_known_by_kind(hosts: Hosts, redis: Redis) -> None:
    hosts.failed(MAIL, 0, "refused the connection")
    hosts.failed(Host("callback", "hooks.example", 443), 0, "refused the connection")
    redis.zadd("tq:hosts", {"feed:old.example:80": 1, b"\xff": 9e12, "strange": 9e12, "mail:x:y": 9e12})
    assert {host.member for host in hosts.paused()} == {"mail:smtp.example:25", "callback:hooks.example:443"}


def test_clients_that_name_many_hosts_cannot_fill_redis(hosts: Hosts, redis: Redis) -> None:
    hosts.failed(MAIL, 0, "refused the connection")
    end_pause(redis)
    hosts.failed(MAIL, hosts.enter(MAIL).failures, "refused the connection")
    for number in range(MAX_HOSTS + 20):
        hosts.failed(Host("callback", f"{number}.example", 443), 0, "refused the connection")
    assert redis.zcard("tq:hosts") == len(redis.keys("tq:host:*")) == MAX_HOSTS
    assert redis.exists(KEY)  # the longest pause stays


@pytest.mark.parametrize("rubbish", ["x", "\x00", "nan", "inf"])
def test_what_another_program_has_written_stops_nothing(hosts: Hosts, redis: Redis, rubbish: str) -> None:
    redis.hset(KEY, mapping={"until": rubbish, "failures": rubbish, "at": rubbish, "why": b"\xff"})
    assert hosts.enter(MAIL).seconds <= LONGEST_PAUSE_SECONDS
    redis.delete(KEY, "tq:hosts")
    redis.set(KEY, "a string")
    redis.set("tq:hosts", "a string")
    hosts.failed(MAIL, 0, "refused the connection")
    assert hosts.enter(MAIL).state == "paused"


@pytest.mark.parametrize(
    ("host", "member", "shown"),
    [
        (MAIL, "mail:smtp.example:25", "mail server smtp.example:25"),
        (Host("feed", "Feeds.Example.", 443), "feed:feeds.example:443", "feed's host feeds.example:443"),
        (Host("other", "::1", 636), "other:[::1]:636", "host [::1]:636"),
    ],
)
def test_a_host_has_one_name_in_keys_and_one_in_messages(host: Host, member: str, shown: str) -> None:
    again = Host.of(member)
    assert again
    assert (host.member, host.shown, again.member) == (member, shown, member)
    assert host.kind in SHOWN

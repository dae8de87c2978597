"""Quotas: how many requests a caller may send, to one process and to several."""

import pytest
from redis import Redis

from taskqueue.errors import InvalidSetting, QueueUnavailable
from taskqueue.settings.quota import Quota
from taskqueue.store.keys import calls_key
from taskqueue.web.http.rate_limit import Quotas
from tests.conftest import RedisServer

HOUR = 3600


def test_a_quota_is_given_and_no_more(redis: Redis) -> None:
    quotas = Quotas(redis, Quota(40, HOUR))
    verdicts = [quotas.take("shop") for _ in range(50)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 40 + [False] * 10
    assert [verdict.left for verdict in verdicts[:3]] == [39, 38, 37]
    assert 60 <= verdicts[-1].seconds <= 90  # 40 an hour: one each 90 s
    assert quotas.take("another").allowed


def test_several_processes_share_it(redis: Redis) -> None:
    processes = [Quotas(redis, Quota(100, HOUR)) for _ in range(3)]
    given = sum(process.take("shop").allowed for _ in range(60) for process in processes)
    assert given == 100


def test_it_flows_back(redis: Redis) -> None:
    quotas = Quotas(redis, Quota(100, HOUR))
    assert quotas.take("shop").allowed
    redis.hset(calls_key("shop"), mapping={"left": 0, "at": float(redis.hget(calls_key("shop"), "at") or 0) - 360})
    fresh = Quotas(redis, Quota(100, HOUR))
    assert sum(fresh.take("shop").allowed for _ in range(20)) == 10


def test_few_of_the_calls_ask_redis(redis: Redis) -> None:
    quotas = Quotas(redis, Quota(1000, HOUR))
    before = redis.info("commandstats")["cmdstat_evalsha"]["calls"] if quotas.take("shop").allowed else 0
    for _ in range(499):
        assert quotas.take("shop").allowed
    assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before == 9


def test_nothing_of_a_silent_caller_stays(redis: Redis) -> None:
    Quotas(redis, Quota(10, HOUR)).take("shop")
    assert 0 < redis.ttl(calls_key("shop")) <= HOUR


def test_what_cannot_be_counted_is_not_allowed(own_redis: RedisServer) -> None:
    quotas = Quotas(Redis.from_url(own_redis.url), Quota(10, HOUR))
    own_redis.stop()
    with pytest.raises(QueueUnavailable):
        quotas.take("shop")


@pytest.mark.parametrize("value", ["600", "600/d", "0/s", "-1/s", "many/s", "1.5/s"])
def test_a_wrong_setting_is_refused(value: str) -> None:
    with pytest.raises(InvalidSetting, match=r"RATE_LIMIT must be a number of requests .* such as 600/m"):
        Quota.read(value)

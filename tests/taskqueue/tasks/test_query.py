"""Searches in words: what each means, and what is said of one that cannot be read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from taskqueue.control.operations import Operations
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.settings import Settings
from taskqueue.tasks.listing import Listing, cursor, position_of
from taskqueue.tasks.query import QueryError, read_query
from taskqueue.tasks.task_filter import Position, TaskFilter

NOW = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
TODAY = datetime(2026, 11, 25, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("status:failed", {"status": ("failed",)}),
        ("status:failed,canceled type:email", {"status": ("failed", "canceled"), "type": ("email",)}),
        ("queue:high queue:low", {"queue": ("high", "low")}),
        ("tag:customer:4711 tag:welcome", {"tag": ("customer:4711", "welcome")}),
        ("customer:4711", {"tag": ("customer:4711",)}),
        ("6f1c2f0e", {"id": "6f1c2f0e"}),
        ("id:6f", {"id": "6f"}),
        ("group:3f0a1c9b7d52", {"group": "3f0a1c9b7d52"}),
        ("worker:host-1", {"worker": ("host-1",)}),
        ("ran:>10s", {"ran_over": 10.0}),
        ("ran:2min", {"ran_over": 120.0}),
        ("ran:<500ms", {"ran_under": 0.5}),
        ("failed:today", {"failed_since": TODAY}),
        ("failed:yesterday", {"failed_since": TODAY - DAY, "failed_until": TODAY}),
        ("failed:<2h", {"failed_since": NOW - timedelta(hours=2)}),
        ("created:>1d", {"before": NOW - DAY}),
        ("created:2026-11-24", {"after": TODAY - DAY, "before": TODAY}),
        ("created:2026-11-24..2026-11-25", {"after": TODAY - DAY, "before": TODAY + DAY}),
        ("created:2026-11-25T14:00", {"after": TODAY + timedelta(hours=14)}),
        ("created:..2026-11-25T14:00:00+02:00", {"before": TODAY + timedelta(hours=12)}),
        ("order:ended", {"order": "ended"}),
        ('worker:"a b"', {"worker": ("a b",)}),
    ],
)
def test_each_qualifier_narrows_the_filter(text: str, fields: dict[str, Any]) -> None:
    assert read_query(text, NOW) == TaskFilter(**fields)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("status:faild", "the statuses are queued"),
        ("status:", "Write something behind 'status'"),
        ("state", "'state' is no qualifier"),
        ("group:x", "take the group from the failures"),
        ("ran:fast", "ran:>10s"),
        ("created:soon", "2026-11-25"),
        ("created:2026-13-45", "2026-11-25"),
        ("failed:<x", "Times are in UTC"),
        ("order:size", "created and ended"),
        ("x" * 501, "at most 500"),
    ],
)
def test_a_search_that_cannot_be_read_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(QueryError, match="(?s).*" + words.replace("'", ".")):
        read_query(text, NOW)


@pytest.fixture
def listing(redis: Redis, settings: Settings) -> Listing:
    return Listing(redis, settings.queues)


def ids(listing: Listing, text: str, limit: int = 100) -> list[str]:
    found: list[str] = []
    position: Position | None = None
    while True:
        page = listing.page(read_query(text), limit, position)
        found += [task.id for task in page.tasks]
        if page.next is None:
            return found
        position = position_of(cursor(page.next))


def test_a_task_must_have_every_tag_and_any_of_the_types(queue: TaskQueue, listing: Listing) -> None:
    both = queue.submit("generic", {}, SubmitOptions(tags=("a", "b"))).id
    one = queue.submit("generic", {}, SubmitOptions(tags=("a",))).id
    week = queue.submit("week", {"of": "2026-11-23"}, SubmitOptions(tags=("b",))).id
    assert ids(listing, "tag:a tag:b") == [both]
    assert ids(listing, "tag:a") == [one, both]
    assert ids(listing, "type:generic,week tag:b") == [week, both]


def test_a_task_is_found_by_the_beginning_of_its_id(queue: TaskQueue, listing: Listing) -> None:
    wanted, *_ = [queue.submit("generic", {}).id for _ in range(30)]
    assert wanted in ids(listing, f"id:{wanted[:6]}")
    assert ids(listing, wanted) == [wanted]
    assert ids(listing, "id:ffffffffffff") == []


def test_tasks_that_ended_are_listed_from_the_latest_end(
    queue: TaskQueue, listing: Listing, redis: Redis, settings: Settings
) -> None:
    operations = Operations(redis, settings.failure_ttl_seconds)
    tasks = [
        queue.submit("generic", {}, SubmitOptions(queue=name)).id for name in ("high", "low", "default", "low")
    ]
    ended = [tasks[2], tasks[0], tasks[3], tasks[1]]
    for number, task in enumerate(ended):
        operations.cancel(task)
        for name in settings.queues:
            redis.zadd(f"rq:canceled:{name}", {task: 1_790_000_000 + number / 1000}, xx=True)
    for limit in (1, 2, 100):
        assert ids(listing, "status:canceled order:ended", limit) == ended[::-1]


def test_a_search_finds_more_than_one_page_reads(
    queue: TaskQueue, listing: Listing, settings: Settings, redis: Redis
) -> None:
    tasks = {queue.submit("generic", {}, SubmitOptions(queue="low")).id for _ in range(450)}
    queue.submit("week", {"of": "2026-11-23"}, SubmitOptions(queue="high"))
    assert set(found(listing, "type:generic")) == tasks
    assert set(found(listing, "status:queued queue:low")) == tasks
    assert found(listing, "type:generic", {"email"}) == []


def found(listing: Listing, search: str, job_types: set[str] | None = None) -> list[str]:
    return [task_id for some in listing.find_ids(read_query(search), job_types) for task_id in some]


SEARCHES = (
    *("type:generic", "type:generic,week", "status:queued", "status:canceled", "status:failed,canceled"),
    *("queue:low", "tag:red", "tag:red tag:blue", "tag:red status:queued", "created:<2h", "created:>2h"),
    *("created:<2h status:canceled", "worker:ada", "group:3f0a1c9b7d52", "failed:<2h", "failed:>2h", "ran:>1s"),
)


@pytest.mark.parametrize("search", SEARCHES)
def test_redis_and_pages_agree_on_what_a_search_finds(
    queue: TaskQueue, listing: Listing, settings: Settings, redis: Redis, search: str
) -> None:
    operations = Operations(redis, settings.failure_ttl_seconds)
    options = SubmitOptions(queue="low", tags=("blue", "red"))
    some = [queue.submit("generic", {}, each).id for each in (SubmitOptions(), options, options)]
    some += [queue.submit("week", {"of": "2026-11-23"}, SubmitOptions(tags=("red",))).id for _ in range(3)]
    operations.cancel(some[0])
    operations.cancel(some[3])
    redis.hset(f"rq:job:{some[3]}", mapping={"status": "failed", "tq:expired": "1"})
    failed = {"status": "failed", "tq:failure": "3f0a1c9b7d52 week ValueError: N", "worker_name": "ada"}
    ran = {"started_at": "2026-11-25T00:00:00.000000Z", "ended_at": "2026-11-25T00:00:05.000000Z"}
    redis.lrem("rq:queue:default", 0, some[4])
    redis.hset(f"rq:job:{some[4]}", mapping=failed | ran)
    redis.zadd("rq:failed:default", {some[4]: 2_000_000_000})
    assert sorted(found(listing, search)) == sorted(ids(listing, search))


def test_a_search_that_few_tasks_fit_reads_few(queue: TaskQueue, listing: Listing, redis: Redis) -> None:
    tagged = queue.submit("generic", {}, SubmitOptions(tags=("customer:4711",))).id
    for _ in range(30):
        queue.submit("generic", {})
    redis.config_resetstat()
    assert found(listing, "tag:customer:4711 status:queued,scheduled,failed,complete") == [tagged]
    assert redis.info("commandstats")["cmdstat_hmget"]["calls"] == 1


def test_an_id_is_found_by_its_beginning_however_old_it_is(
    queue: TaskQueue, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue.tasks.listing.IDS_STEP", 2)
    monkeypatch.setattr("taskqueue.tasks.listing.IDS_SECONDS", 0)  # one step, then another page
    tasks = [queue.submit("generic", {}).id for _ in range(9)]
    for task in tasks:
        assert ids(listing, f"id:{task[:8]}") == [task]
    assert ids(listing, "id:ffffffff-ffff") == []
    assert ids(listing, f"id:{tasks[0][:8]} created:<1h") == tasks[:1]
    assert ids(listing, f"id:{tasks[0][:8]} created:>1h") == []

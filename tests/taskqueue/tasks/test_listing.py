"""Pages of tasks: their order, their filters, and what they cost."""

from datetime import timedelta

import pytest
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.keys import INDEX, TAG_INDEXES
from taskqueue.tasks.listing import MAX_SORTED, Listing, Page, cursor, position_of
from taskqueue.tasks.task_filter import Position, TaskFilter
from taskqueue.worker.maintenance.index_pruner import STEP, IndexPruner


@pytest.fixture
def listing(redis: Redis, settings: Settings) -> Listing:
    return Listing(redis, settings.queues)


def ids(listing: Listing, wanted: TaskFilter | None = None, limit: int = 200) -> list[str]:
    """Return the ids of all pages."""
    all_ids: list[str] = []
    position: Position | None = None
    while True:
        page = listing.page(wanted or TaskFilter(), limit, position)
        all_ids += [task.id for task in page.tasks]
        if page.next is None:
            return all_ids
        position = position_of(cursor(page.next))


def test_the_newest_comes_first_over_all_pages(queue: TaskQueue, listing: Listing) -> None:
    tasks = [queue.submit("generic", {}).id for _ in range(11)]
    assert ids(listing) == tasks[::-1]
    assert ids(listing, limit=2) == tasks[::-1]


def test_pages_are_steady_while_tasks_come_and_go(queue: TaskQueue, redis: Redis, listing: Listing) -> None:
    tasks = [queue.submit("generic", {}).id for _ in range(6)]
    first = listing.page(TaskFilter(), 3)
    queue.submit("generic", {})
    redis.delete(f"rq:job:{tasks[4]}")
    assert [task.id for task in listing.page(TaskFilter(), 3, first.next).tasks] == tasks[2::-1]


def test_tasks_are_found_by_type_queue_tag_and_time(queue: TaskQueue, listing: Listing) -> None:
    first = queue.submit("generic", {}, SubmitOptions(tags=("blue", "red")))
    second = queue.submit("generic", {}, SubmitOptions(queue="high", tags=("red",)))
    third = queue.submit("week", {"of": "2026-11-23"})
    assert ids(listing, TaskFilter(type=("generic",))) == [second.id, first.id]
    assert ids(listing, TaskFilter(queue=("high",))) == [second.id]
    assert ids(listing, TaskFilter(tag=("red",))) == [second.id, first.id]
    assert ids(listing, TaskFilter(tag=("red",), type=("week",))) == []
    assert ids(listing, TaskFilter(after=second.created_at)) == [third.id, second.id]
    assert ids(listing, TaskFilter(before=second.created_at)) == [first.id]
    later = first.created_at - timedelta(microseconds=1)
    assert ids(listing, TaskFilter(before=later)) == []


@pytest.mark.parametrize("few", [MAX_SORTED, 0])
def test_the_status_is_what_rq_says(
    queue: TaskQueue, redis: Redis, listing: Listing, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue.tasks.listing.MAX_SORTED", few)  # from the registries, and down the index
    waits, delayed = queue.submit("generic", {}), queue.submit("generic", {}, SubmitOptions(delay=60))
    assert ids(listing, TaskFilter(status=("queued",))) == [waits.id]
    assert ids(listing, TaskFilter(status=("scheduled",))) == [delayed.id]
    assert ids(listing, TaskFilter(status=("failed",))) == []


def test_an_unreadable_job_hides_no_other(queue: TaskQueue, redis: Redis, listing: Listing) -> None:
    bad, good = queue.submit("generic", {}), queue.submit("generic", {})
    redis.hset(f"rq:job:{bad.id}", mapping={"created_at": "soon"})
    assert ids(listing) == [good.id]


def test_a_page_looks_at_so_many_tasks_and_no_more(
    queue: TaskQueue, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue.tasks.listing.STEP", 5)
    monkeypatch.setattr("taskqueue.tasks.listing.MAX_EXAMINED", 10)
    wanted = queue.submit("generic", {}, SubmitOptions(queue="high"))
    for _ in range(25):
        queue.submit("generic", {})
    page = listing.page(TaskFilter(queue=("high",)), 10)
    assert page.tasks == []
    assert page.next
    assert ids(listing, TaskFilter(queue=("high",))) == [wanted.id]


@pytest.mark.parametrize("wanted", [TaskFilter(), TaskFilter(tag=("red",)), TaskFilter(queue=("low",))])
@pytest.mark.parametrize("same_microsecond", [True, False])
def test_no_cursor_names_a_task_of_another_type(
    queue: TaskQueue,
    redis: Redis,
    listing: Listing,
    monkeypatch: pytest.MonkeyPatch,
    wanted: TaskFilter,
    same_microsecond: bool,
) -> None:
    monkeypatch.setattr("taskqueue.tasks.listing.STEP", 3)
    monkeypatch.setattr("taskqueue.tasks.listing.MAX_EXAMINED", 3)
    options = SubmitOptions(queue="low", tags=("red",))
    foreign, own = set(), []
    for number in range(40):
        if number % 9 == 4:
            own.append(queue.submit("week", {"of": "2026-11-23"}, options).id)
        else:
            foreign.add(queue.submit("generic", {}, options).id)
    if same_microsecond:
        for key in (INDEX, f"{INDEX}:tag:red", f"{INDEX}:type:week", f"{INDEX}:type:generic"):
            redis.zadd(key, dict.fromkeys(redis.zrange(key, 0, -1), 1_790_000_000_000_000))
        for task_id in (*own, *foreign):
            redis.hset(f"rq:job:{task_id}", "created_at", "2026-09-21T14:13:20.000000Z")
    found, cursors, position = [], [], None
    while True:
        page = listing.page(wanted, 10, position, {"week", "email"})
        found += [task.id for task in page.tasks]
        if page.next is None:
            break
        cursors.append(cursor(page.next))
        position = position_of(cursors[-1])
    assert sorted(found) == sorted(own)
    assert cursors
    assert not [each for each in cursors for task_id in foreign if task_id in each]
    assert listing.page(TaskFilter(type=("generic",)), 10, None, {"week"}) == Page([], None)


def test_what_is_gone_leaves_the_indexes(
    queue: TaskQueue, redis: Redis, job_types: JobTypes, listing: Listing
) -> None:
    kept = queue.submit("generic", {}, SubmitOptions(tags=("kept",)))
    gone = [queue.submit("generic", {}, SubmitOptions(tags=("gone",))).id for _ in range(20)]
    redis.delete(*(f"rq:job:{task_id}" for task_id in gone))
    trimming = IndexPruner(redis, job_types)
    for _ in range(len(job_types) + 3):
        trimming.run()
    assert redis.zrange(INDEX, 0, -1) == redis.zrange(f"{INDEX}:type:generic", 0, -1) == [kept.id.encode()]
    assert redis.smembers(TAG_INDEXES) == {f"{INDEX}:tag:kept".encode()}


def test_many_that_are_gone_leave_in_one_go(redis: Redis, job_types: JobTypes) -> None:
    redis.zadd(INDEX, {f"task-{number}": number for number in range(3 * STEP)})
    trimming = IndexPruner(redis, job_types)
    for _ in range(len(job_types) + 2):
        trimming.run()
    assert not redis.exists(INDEX)

"""Faults that the model has found in the engine, each as the shortest sequence of actions that shows it.

Each action compares the engine with the model by itself; `end` lets all jobs come to their end.
"""

from collections.abc import Iterator

import pytest

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.worker.decision import How
from tests.model.driver import Engine
from tests.model.model import Job
from tests.model.play import Play


@pytest.fixture
def play(engine: Engine) -> Iterator[Play]:
    play = Play(engine, (False, False))
    yield play
    play.end()
    play.close()


def submitted(play: Play, job_type: str = "plain", **options: object) -> Job:
    play.submit(job_type, SubmitOptions.model_validate(options))
    return [*play.model.jobs.values()][-1]


def test_a_limited_task_for_which_others_wait_frees_its_place_at_its_end(play: Play) -> None:
    parent = submitted(play, "single")
    submitted(play, depends_on=[parent.id])
    worker = play.workers[0]
    play.exchange(worker, [], 1)
    play.exchange(worker, [(worker.runs[0], "finished")], 0)
    play.check()
    assert "tq:limit:single:running" not in play.world.sets


def test_a_limited_task_that_is_deleted_after_its_lease_frees_its_place(play: Play) -> None:
    job = submitted(play, "single")
    play.exchange(play.workers[0], [], 1)
    play.run_out(job)
    play.delete(job)
    play.check()
    assert "tq:limit:single:running" not in play.world.sets


def test_a_limited_task_that_expires_after_it_was_let_through_gives_its_place_to_the_next_one(play: Play) -> None:
    _, second, third = (submitted(play, "single") for _ in range(3))
    worker = play.workers[0]
    play.exchange(worker, [], 1)
    play.exchange(worker, [], 1)
    play.expire(second)
    play.exchange(worker, [(worker.runs[0], "finished")], 1)
    play.check()
    assert (second.status, third.status) == ("canceled", "started")


def test_a_task_that_rq_has_requeued_calls_back_again_when_it_is_canceled(play: Play) -> None:
    job = submitted(play, callback_url="https://example.com/called", attempts=1)
    worker = play.workers[0]
    play.exchange(worker, [], 1)
    play.exchange(worker, [(worker.runs[0], How.RAISED)], 0)
    play.rq_requeue(job)
    play.cancel(job)
    play.check()
    assert play.world.job(job.id)["tq:callbacks"] == "2"


def test_a_claim_that_came_twice_puts_the_second_job_back_while_the_first_one_runs(play: Play) -> None:
    first, second = submitted(play), submitted(play)
    worker = play.workers[0]
    play.exchange(worker, [], 1, "answer")
    play.deliver_again(worker)
    play.send_again(worker)
    play.heartbeat(worker)
    play.check()
    assert sorted((job.status, job.attempt) for job in (first, second)) == [("started", 1), ("waiting", 0)]


def test_a_claim_that_is_sent_again_gives_no_job_whose_lease_has_run_out(play: Play) -> None:
    job = submitted(play, attempts=1)
    play.exchange(play.workers[0], [], 1, "answer")
    play.run_out(job)
    play.find_lost_jobs(play.workers[1])
    play.send_again(play.workers[0])
    play.check()
    assert (job.status, play.workers[0].runs) == ("failed", [])


def test_a_task_that_rq_has_canceled_at_its_beginning_and_that_is_requeued_is_no_more_that_runs(
    play: Play,
) -> None:
    job = submitted(play)
    worker = play.workers[0]
    play.exchange(worker, [], 1)
    play.rq_cancel(job)
    play.requeue(job)
    play.exchange(worker, [(worker.runs[0], "finished")], 0)
    play.check()
    assert (job.status, job.attempt) == ("waiting", 0)


def test_a_task_that_rq_has_canceled_at_its_beginning_stays_so_if_others_wait_for_it(play: Play) -> None:
    parent = submitted(play)
    submitted(play, depends_on=[parent.id])
    worker = play.workers[0]
    play.exchange(worker, [], 1)
    play.rq_cancel(parent)
    play.exchange(worker, [(worker.runs[0], How.RAISED)], 0)
    play.check()
    assert parent.status == "canceled"


def test_what_has_ended_before_a_job_of_its_group_that_runs_for_long_is_stored(play: Play) -> None:
    first, second, third = (submitted(play, attempts=2) for _ in range(3))
    worker = play.workers[0]
    play.claim_group(worker)
    (group,) = worker.groups
    play.go_on(worker, group, "finished", 0)
    play.end_early(worker, group)
    play.check()
    assert [job.status for job in (first, second, third)] == ["finished", "started", "waiting"]


def test_a_group_that_came_twice_is_answered_as_one(play: Play) -> None:
    jobs = [submitted(play, attempts=2) for _ in range(2)]
    worker = play.workers[0]
    play.claim_group(worker, "answer")
    jobs += [submitted(play, attempts=2) for _ in range(2)]
    play.deliver_again(worker)
    play.send_again(worker)
    (group,) = worker.groups
    assert [run.execution[-2:] for run in group.runs] == [".1", ".2"]
    play.go_on(worker, group, "finished", 0)
    play.heartbeat(worker)
    play.check()
    assert sorted(job.status for job in jobs) == ["started", "started", "waiting", "waiting"]


def test_a_lost_group_comes_back_in_its_order(play: Play) -> None:
    jobs = [submitted(play, attempts=2) for _ in range(6)]
    play.claim_group(play.workers[0])
    play.kill(play.workers[0])
    for job in jobs:
        play.run_out(job)
    play.find_lost_jobs(play.workers[1])
    play.check()
    assert play.world.lists["rq:queue:default"] == [job.id for job in jobs]


def test_what_an_io_process_had_claimed_and_not_begun_comes_back_in_its_order(engine: Engine) -> None:
    play = Play(engine, (True, False))
    jobs = [submitted(play, "mail") for _ in range(6)]
    worker = play.workers[0]
    assert worker.io
    play.exchange(worker.io, [], 6, "answer")
    play.end_io(worker, None)
    play.check()
    assert play.world.lists["rq:queue:default"] == [job.id for job in jobs]
    play.end()
    play.close()


def test_a_claim_that_comes_late_gives_no_second_run_under_its_execution(play: Play) -> None:
    job = submitted(play, attempts=2)
    worker = play.workers[0]
    play.exchange(worker, [], 1)
    play.run_out(job)
    play.find_lost_jobs(play.workers[1])
    play.deliver_again(worker)
    play.check()
    assert (job.status, job.attempt) == ("waiting", 1)
    play.exchange(worker, [(worker.runs[0], How.TIMED_OUT)], 0)
    play.check()
    assert (job.status, job.attempt) == ("waiting", 1)

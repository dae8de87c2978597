"""What becomes of a job whose run did not succeed, as a table."""

import pytest
from rq.exceptions import DeserializationError
from rq.timeouts import JobTimeoutException

from taskqueue.errors import HostPaused, InvalidPayload, PermanentFailure, RetryLater
from taskqueue.tasks.put_off import CALLBACK_PLACE, PutOff
from taskqueue.tasks.reason import ReasonCode
from taskqueue.worker.decision import (
    HOST_SECONDS,
    MAX_WAIT_SECONDS,
    Attempts,
    Decision,
    How,
    decide,
    put_off_again,
    seconds_to_wait,
)

FIRST = Attempts(made=1, retries_left=4, delay=3)
SECOND_TO_LAST = Attempts(made=4, retries_left=1, delay=60)
LAST = Attempts(made=5, retries_left=0)
ONLY = Attempts(made=1, retries_left=0)


def retried(attempts: Attempts, deaths: int = 0) -> Decision:
    return Decision("retried", None, attempts.delay, attempts.retries_left - 1, deaths)


def failed(reason: ReasonCode, deaths: int = 0) -> Decision:
    return Decision("failed", reason, deaths=deaths)


@pytest.mark.parametrize(
    ("how", "attempts", "decision"),
    [
        (How.RAISED, FIRST, retried(FIRST)),
        (How.RAISED, SECOND_TO_LAST, retried(SECOND_TO_LAST)),
        (How.RAISED, LAST, failed(ReasonCode.ERROR)),
        (How.RAISED, ONLY, failed(ReasonCode.ERROR)),
        (How.RAISED, LAST._replace(deaths=4), failed(ReasonCode.ERROR)),
        (How.RAISED_PERMANENT, FIRST, failed(ReasonCode.PERMANENT)),
        (How.RAISED_PERMANENT, LAST, failed(ReasonCode.PERMANENT)),
        (How.TIMED_OUT, FIRST, retried(FIRST)),
        (How.TIMED_OUT, LAST, failed(ReasonCode.TIMEOUT)),
        (How.TIMED_OUT, LAST._replace(deaths=4), failed(ReasonCode.TIMEOUT)),
        (How.HORSE_DIED, FIRST, retried(FIRST, deaths=1)),
        (How.HORSE_DIED, SECOND_TO_LAST._replace(deaths=2), retried(SECOND_TO_LAST, deaths=3)),
        (How.HORSE_DIED, ONLY, failed(ReasonCode.HORSE_DIED, deaths=1)),
        (How.HORSE_DIED, LAST, failed(ReasonCode.HORSE_DIED, deaths=1)),
        (How.HORSE_DIED, LAST._replace(deaths=3), failed(ReasonCode.HORSE_DIED, deaths=4)),
        (How.HORSE_DIED, LAST._replace(deaths=4), failed(ReasonCode.POISON, deaths=5)),
        (How.WORKER_LOST, FIRST, retried(FIRST, deaths=1)),
        (How.WORKER_LOST, ONLY, failed(ReasonCode.WORKER_LOST, deaths=1)),
        (How.WORKER_LOST, LAST._replace(deaths=4), failed(ReasonCode.POISON, deaths=5)),
        (How.UNREADABLE, FIRST, failed(ReasonCode.UNREADABLE)),
        (How.STOPPED, FIRST, Decision("stopped", ReasonCode.STOPPED)),
        (How.STOPPED, LAST, Decision("stopped", ReasonCode.STOPPED)),
        (How.RETURNED, FIRST, Decision("returned")),
        (How.RETURNED, LAST._replace(deaths=4), Decision("returned")),
    ],
)
def test_what_becomes_of_a_job(how: How, attempts: Attempts, decision: Decision) -> None:
    assert decide(how, attempts) == decision


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (ConnectionError("the line is down"), How.RAISED),
        (SystemExit(1), How.RAISED),
        (PermanentFailure("the page is gone (410)"), How.RAISED_PERMANENT),
        (DeserializationError("no JSON"), How.RAISED_PERMANENT),
        (InvalidPayload("email", []), How.RAISED),
        (JobTimeoutException("too long"), How.TIMED_OUT),
    ],
)
def test_how_a_run_ended_that_raised_an_error(error: BaseException, how: How) -> None:
    assert How.of_error(error) is how


def test_each_ending_but_a_return_has_a_reason_of_its_own() -> None:
    reasons = {how.value for how in How}
    assert len(reasons) == len(How)
    assert reasons == {*ReasonCode, None} - {ReasonCode.POISON}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RetryLater("busy", seconds=120), 120),
        (RetryLater("busy", seconds=0.2), 1),
        (RetryLater("busy", seconds=-5), 0),
        (RetryLater("busy", seconds=float("nan")), 0),
        (RetryLater("busy", seconds=float("inf")), MAX_WAIT_SECONDS),
        (HostPaused("away", seconds=4.5, host="mail:a:25"), 5),
        (ConnectionError("away"), 0),
        (None, 0),
    ],
)
def test_how_long_an_error_wants_its_job_to_wait(error: Exception | None, seconds: int) -> None:
    assert seconds_to_wait(error) == seconds


HOST = "mail:smtp.example:25"


@pytest.mark.parametrize(
    ("before", "attempt", "cause", "put_off"),
    [
        (None, 1, HOST, PutOff(10_000, 1, HOST)),
        (PutOff(9_000, 1, HOST), 1, HOST, PutOff(9_000, 1, HOST)),
        (PutOff(9_000, 1, HOST), 1, "feed:b:80", PutOff(9_000, 1, "feed:b:80")),
        (PutOff(9_000, 1, HOST), 2, HOST, PutOff(10_000, 2, HOST)),  # an attempt was made meanwhile
        (PutOff(10_000 - HOST_SECONDS, 1, HOST), 1, HOST, None),
        (PutOff(10_000 - HOST_SECONDS, 1, HOST), 2, HOST, PutOff(10_000, 2, HOST)),
        (PutOff(0, 1, CALLBACK_PLACE), 1, CALLBACK_PLACE, PutOff(0, 1, CALLBACK_PLACE)),
    ],
)
def test_an_attempt_waits_for_a_host_for_an_hour(
    before: PutOff | None, attempt: int, cause: str, put_off: PutOff | None
) -> None:
    assert put_off_again(before, attempt, cause, 10_000) == put_off
    assert PutOff.read(put_off.text() if put_off else "") == put_off


@pytest.mark.parametrize("text", ["", "x", "1", "1 x y", "\\xff"])
def test_a_field_that_another_program_has_written_counts_as_none(text: str) -> None:
    assert PutOff.read(text) is None

"""Delays between attempts."""

import pytest

from taskqueue.jobtypes.retry import RetryDelays


def test_delays_double_from_about_the_first() -> None:
    delays = RetryDelays(first=100, longest=10_000).seconds(5)
    for retry, delay in enumerate(delays):
        assert 100 * 2**retry <= delay <= 150 * 2**retry


def test_no_delay_is_longer_than_the_longest() -> None:
    assert max(RetryDelays(first=10, longest=60).seconds(99)) <= 60


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    delays = RetryDelays(first=1000, longest=10_000)
    assert len({delays.seconds(1)[0] for _ in range(20)}) > 10


def test_no_delay_is_possible() -> None:
    assert RetryDelays(first=0, longest=0).seconds(3) == [0, 0, 0]


@pytest.mark.parametrize(("first", "longest"), [(-1, 5), (10, 5), (1, 10**9)])
def test_delays_that_make_no_sense_are_refused(first: float, longest: float) -> None:
    with pytest.raises(ValueError, match="retry_delay and max_retry_delay must be 0 to"):
        RetryDelays(first=first, longest=longest)

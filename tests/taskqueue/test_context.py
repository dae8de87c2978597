"""What a job can say and ask, when no worker runs it."""

import pytest

from taskqueue import current_task, files, progress


def test_a_job_can_be_called_as_plain_python() -> None:
    from jobs.generic import generic

    assert generic(a=1) == {"a": 1}


def test_outside_a_worker_there_is_no_task_and_progress_goes_nowhere() -> None:
    assert current_task() is None
    progress(1, 2, "half")


@pytest.mark.usefixtures("env")
def test_outside_a_worker_files_are_those_of_the_environment() -> None:
    stored = files().write(b"text", "a.txt")
    assert files().read(stored.filename)[1] == b"text"

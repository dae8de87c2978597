"""Registering and finding job types."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskqueue.errors import InvalidJobType, UnknownJobType
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.registry import JobTypes, job


@pytest.fixture
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the job types that the test registers."""
    monkeypatch.setattr("taskqueue.jobtypes.registry.registered", JobTypes())


def start_worker(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "worker.py", "--burst"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.usefixtures("nothing_registered")
def test_the_decorator_returns_the_function_itself() -> None:
    def function(a: int) -> int:
        return a

    assert job("returned-unchanged")(function) is function


def test_a_registered_function_is_found_with_its_options(job_types: JobTypes) -> None:
    flaky = job_types.find("flaky")
    assert (flaky.queue, flaky.attempts, flaky.timeout) == ("high", 4, 180)
    assert flaky.description == "Fail this many times, then return the number of the run."
    assert flaky.path == "tests.sample_jobs.samples.flaky"


def test_an_unknown_name_tells_the_known_ones(job_types: JobTypes) -> None:
    with pytest.raises(UnknownJobType, match=r"There is no task type 'emial'. Known: .*generic"):
        job_types.find("emial")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Send Email"}, "the name 'Send Email' must be lower-case letters"),
        ({"name": "tq-mine"}, "names that begin with 'tq-' are for built-in types"),
        ({"name": 5}, "the name 5 must be lower-case letters"),
        ({"name": ""}, r"`@job` needs a name; write @job\(\"function\"\)"),
        ({"attempts": 0}, "attempts must be a whole number, 1 to 100; got 0"),
        ({"attempts": "3"}, "attempts must be a whole number, 1 to 100; got '3'"),
        ({"timeout": 0}, "timeout must be whole seconds, 1 to 604800; got 0"),
        ({"timeout": "1h"}, "timeout must be whole seconds, 1 to 604800; got '1h'"),
        ({"retries": 3}, "`@job` has no option retries; its options are queue, attempts, timeout, retry_delay"),
        ({"retry_delay": "2"}, "retry_delay and max_retry_delay must be 0 to 604800 seconds"),
        ({"concurrency": 0}, "concurrency must be 1 to 10,000, got 0"),
        ({"concurrency": "5"}, "concurrency must be 1 to 10,000, got '5'"),
        ({"rate": 10}, "rate must be 1 to 10,000 in a second, minute, hour, day, such as '10/minute'; got 10"),
        ({"rate": "10/fortnight"}, "rate must be 1 to 10,000 in a second, minute, hour, day, such as '10/minute'"),
        ({"rate": "0/minute"}, "rate must be 1 to 10,000"),
        ({"retry_delay": 10, "max_retry_delay": 5}, "retry_delay and max_retry_delay must be"),
    ],
)
def test_a_bad_option_is_refused_with_the_place(options: dict[str, Any], message: str) -> None:
    def function() -> None: ...

    with pytest.raises(InvalidJobType, match=rf"test_registry.py:\d+ .*{message}"):
        job(**{"name": "bad-option", **options})(function)


def test_the_decorator_without_brackets_is_refused_with_the_place() -> None:
    def greet() -> None: ...

    with pytest.raises(InvalidJobType, match=r'test_registry.py:\d+ .*needs a name; write @job\("greet"\)'):
        job(greet)  # type: ignore[arg-type]  # the mistake


def test_options_without_their_names_are_refused_with_the_place_and_the_fix() -> None:
    def greet() -> None: ...

    with pytest.raises(
        InvalidJobType,
        match=r"test_registry.py:\d+ .*its options by name only; write @job\('greet', queue='low', attempts=5\)",
    ):
        job("greet", "low", 5)(greet)  # type: ignore[arg-type]  # the mistake


def test_a_generator_is_refused_with_the_place() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(InvalidJobType, match=r"test_registry.py:\d+ .*cannot `yield`; .* `return` the list"):
            job("generator")(function)


def test_a_class_is_refused() -> None:
    with pytest.raises(InvalidJobType, match=r"test_registry \(JobTypes\): a job type is a plain function"):
        job("a-class")(type("JobTypes", (), {"__module__": __name__}))


@pytest.mark.usefixtures("nothing_registered")
def test_two_functions_cannot_claim_one_name() -> None:
    def first() -> None: ...
    def second() -> None: ...

    job("claimed-twice")(first)
    with pytest.raises(
        InvalidJobType, match=r"'claimed-twice' is already .*first.*; give one of them another name"
    ):
        job("claimed-twice")(second)


def test_a_job_type_on_a_queue_that_nobody_works_is_refused(job_types: JobTypes) -> None:
    with pytest.raises(InvalidJobType, match="there is no queue 'low'; use one of high, default"):
        discover("tests.sample_jobs", queues=("high", "default"))


def test_a_worker_does_not_start_with_two_files_of_one_name(bare_project: Path) -> None:
    for name in ("a", "b"):
        (bare_project / "jobs" / f"{name}.py").write_text(
            f"from taskqueue import job\n\n@job('same')\ndef {name}() -> None: ...\n"
        )
    done = start_worker(bare_project)
    assert done.returncode == 2
    assert "jobs/b.py:3 (b): the job type 'same' is already" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_does_not_start_with_a_decorator_without_brackets(bare_project: Path) -> None:
    (bare_project / "jobs" / "bare.py").write_text("from taskqueue import job\n\n@job\ndef bare() -> None: ...\n")
    done = start_worker(bare_project)
    assert done.returncode == 2
    assert 'jobs/bare.py:3 (bare): `@job` needs a name; write @job("bare")' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_names_the_file_that_ends_the_program_when_it_is_imported(bare_project: Path) -> None:
    (bare_project / "jobs" / "script.py").write_text("import sys\n\nsys.exit(3)\n")
    done = start_worker(bare_project)
    assert done.returncode == 2
    assert (
        "jobs/script.py:3: the import of jobs.script ends the program (exit code 3); take that out" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_worker_does_not_start_with_a_signature_that_has_no_json_form(bare_project: Path) -> None:
    (bare_project / "jobs" / "odd.py").write_text(
        "from taskqueue import job\n\n@job('odd')\ndef odd(connection) -> None: ...\n"
    )
    done = start_worker(bare_project)
    assert done.returncode == 2
    assert "jobs/odd.py:3 (odd): 'odd' cannot be a job type: parameter 'connection' has no type" in done.stderr

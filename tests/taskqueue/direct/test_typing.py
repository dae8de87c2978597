"""Type checkers know the arguments of `submit`, and the type of the result."""

import re
from pathlib import Path

import pytest
from mypy import api

from tests.conftest import ROOT

SAMPLE = """
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from taskqueue import CurrentTask, Needs, around_job, around_process, handle, job, needs, parents
from taskqueue import submit, submit_many, when_failed


class Session: ...


def session() -> Iterator[Session]:
    yield Session()


async def asession() -> AsyncIterator[Session]:
    yield Session()


@job("mail", queue="low")
def send_email(to: str, subject: str, copies: int = 1, db: Session = needs(session)) -> list[str]:
    return [to]


@job("fetch")
async def fetch(url: str, db: Session = needs(asession)) -> int:
    return 1


@job("wrong")
def wrong(db: int = needs(session)) -> None: ...  # error: Incompatible default for parameter "db"


@job("wrong2", quue="low")  # error: has incompatible type "str"; expected "Never"
def wrong2() -> None: ...


async def coroutine() -> None:
    reveal_type(await fetch("a"))  # note: "int"
    handle = await fetch.asubmit("a")
    reveal_type(await handle.aresult())  # note: "int"
    reveal_type((await send_email.asubmit("a", "b")).result(timeout=5))  # note: "list[str]"


reveal_type(send_email("a", "b"))  # note: "list[str]"
reveal_type(send_email.submit(to="a", subject="b").result())  # note: "list[str]"
reveal_type(fetch.submit(url="a").result())  # note: "int"
reveal_type(send_email.options(delay=60, tags=["a"]).submit("a", "b").result())  # note: "list[str]"
reveal_type(send_email.handle("id").result())  # note: "list[str]"
reveal_type(handle("id").result())  # note: "Any"
reveal_type(submit_many([fetch.task("a")], then=send_email.task("a", "b")).tasks[0].result())  # note: "int"
reveal_type(submit_many([fetch.task("a")], then=send_email.task("a", "b")).then.result())  # note: "list[str]"
submit_many([fetch.task("a")]).then.result()  # error: "None" has no attribute "result"
reveal_type(next(iter(parents(fetch))))  # note: "int"
reveal_type(next(iter(parents())))  # note: "Any"
reveal_type(submit("mail", {}))  # note: "str"
send_email.submit(to="a", subjct="b")  # error: Unexpected keyword argument "subjct"
send_email.submit(to="a")  # error: Missing positional argument "subject"
send_email.submit(to="a", subject=5)  # error: has incompatible type "int"; expected "str"
fetch.submit(url=5)  # error: has incompatible type "int"; expected "str"
send_email.options(dealy=60)  # error: Unexpected keyword argument "dealy"
send_email.options(delay="soon")  # error: has incompatible type "str"; expected "float"
send_email.options(delay=60).submit(to="a", subject="b", copies="c")  # error: has incompatible type "str"
send_email.task(to="a")  # error: Missing positional argument "subject"
submit("mail", {}, dealy=60)  # error: Unexpected keyword argument "dealy"
send_email.submit(to="a", subject="b").reslt()  # error: has no attribute "reslt"
send_email("a")  # error: Missing positional argument "subject"


@around_process
def process() -> Iterator[None]:
    yield


@around_job
async def around() -> AsyncIterator[None]:
    yield


@when_failed
def report(task: CurrentTask, error: BaseException) -> None: ...


@around_job  # error: Value of type variable "Around"
def not_around(name: str) -> Iterator[None]:
    yield


@when_failed  # error: Value of type variable "Failed"
def not_report(error: int) -> None: ...


@job("annotated")
def annotated(a: int, db: Annotated[Session, Needs(session)]) -> None: ...


annotated(1, Session())
"""


def test_mypy_finds_what_is_wrong_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    file = tmp_path / "sample.py"
    file.write_text(SAMPLE)
    cache = tmp_path / "cache"
    output, errors, _ = api.run(["--config-file", "pyproject.toml", "--cache-dir", str(cache), str(file)])
    assert errors == ""
    found = {int(number): [] for number in re.findall(r"sample\.py:(\d+): ", output)}
    for number, message in re.findall(r"sample\.py:(\d+): ((?:error|note): .*)", output):
        found[int(number)].append(message)
    for number, line in enumerate(SAMPLE.splitlines(), 1):
        _, mark, expected = line.partition("  # error: " if "  # error: " in line else "  # note: ")
        messages = " ".join(found.pop(number, []))
        assert bool(mark) == bool(messages), f"{line}\n{messages or 'mypy found nothing'}"
        if "note" in mark:
            assert f"Revealed type is {expected}" in messages.replace("builtins.", ""), f"{line}\n{messages}"
        assert expected in messages.replace("builtins.", ""), f"{line}\n{messages}"
    assert found == {}

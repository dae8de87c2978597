"""What a job needs, and what runs around it: set up, committed or rolled back by the outcome."""

import asyncio
import inspect
import json
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, insert, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from taskqueue import Needs, PermanentFailure, around_job, job, needs
from taskqueue.call import Call
from taskqueue.errors import InvalidPayload, InvalidResult
from taskqueue.hooks import registry
from taskqueue.hooks.running import await_with_hooks
from taskqueue.jobtypes.registry import JobTypes

rows = Table("rows", MetaData(), Column("number", Integer, primary_key=True))


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the job types and the hooks that a test registers."""
    monkeypatch.setattr("taskqueue.jobtypes.registry.registered", JobTypes())
    monkeypatch.setattr(registry, "jobs", {})


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    rows.metadata.create_all(engine)
    yield engine
    engine.dispose()


Run = Callable[..., Any]


@pytest.fixture(params=["horse", "event loop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a job as a work-horse does; a coroutine function also in a loop that runs already."""

    def run_in_loop(function: Any, **payload: Any) -> Any:
        job_type = function.job_type
        if not inspect.iscoroutinefunction(function):
            return run_in_horse(function, **payload)
        arguments = job_type.arguments(payload)
        end = job_type.signature.result_text
        return json.loads(asyncio.run(await_with_hooks(function, arguments, job_type.signature.needs, end)))

    def run_in_horse(function: Any, **payload: Any) -> Any:
        return Call(function.job_type)(**payload)

    return run_in_loop if request.param == "event loop" else run_in_horse


def stored(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(select(rows.c.number)).scalars())


def test_a_session_commits_or_rolls_back_by_the_outcome_of_the_job(engine: Engine, run: Run) -> None:
    def session() -> Iterator[Session]:
        with Session(engine) as db, db.begin():
            yield db

    @job("store")
    def store(number: int, fails: bool = False, odd: bool = False, db: Session = needs(session)) -> Any:
        db.execute(insert(rows).values(number=number))
        if fails:
            raise ConnectionError("the line is down")
        return object() if odd else number

    assert run(store, number=1) == 1
    with pytest.raises(ConnectionError):
        run(store, number=2, fails=True)
    with pytest.raises(InvalidResult):  # a result without a JSON form fails the job, too
        run(store, number=3, odd=True)
    assert stored(engine) == [1]
    # A plain call is given what it needs.
    with Session(engine) as db, db.begin():
        assert store(4, db=db) == 4
    assert stored(engine) == [1, 4]


def test_a_need_is_no_field_of_the_payload(run: Run) -> None:
    @job("annotated")
    def annotated(number: int, db: Annotated[Session, Needs(lambda: iter(()))]) -> None: ...

    assert list(annotated.job_type.signature.schema["properties"]) == ["number"]
    with pytest.raises(InvalidPayload, match="/db: There is no such field"):
        annotated.job_type.arguments({"number": 1, "db": "mine"})
    with pytest.raises(PermanentFailure, match="/db: There is no such field"):
        run(annotated, number=1, db="mine")


def test_a_plain_call_without_what_the_job_needs_says_so() -> None:
    def session() -> Iterator[Session]:
        yield Session()

    @job("plain")
    def plain(db: Session = needs(session)) -> None:
        db.commit()

    with pytest.raises(AttributeError, match=r"needs\(.*session\) has no value here: only a worker fills it"):
        plain()


@pytest.mark.parametrize("kind", ["generator", "manager", "async generator", "async manager"])
@pytest.mark.parametrize("is_async", [False, True])
def test_every_kind_of_provider_serves_every_kind_of_job(kind: str, is_async: bool, run: Run) -> None:
    events: list[str] = []

    def generator() -> Iterator[str]:
        events.append("begin")
        yield "value"
        events.append("end")

    async def async_generator() -> AsyncIterator[str]:
        await asyncio.sleep(0)
        events.append("begin")
        yield "value"
        await asyncio.sleep(0)
        events.append("end")

    provider: Any = {
        "generator": generator,
        "manager": contextmanager(generator),
        "async generator": async_generator,
        "async manager": asynccontextmanager(async_generator),
    }[kind]

    if is_async:

        @job("kinds")
        async def function(thing: str = needs(provider)) -> str:
            await asyncio.sleep(0)
            events.append("job")
            return thing
    else:

        @job("kinds")
        def function(thing: str = needs(provider)) -> str:  # type: ignore[misc,unused-ignore]
            events.append("job")
            return thing

    assert run(function) == "value"
    assert events == ["begin", "job", "end"]


def test_an_async_need_and_its_job_share_one_loop(run: Run) -> None:
    async def loop() -> AsyncIterator[asyncio.AbstractEventLoop]:
        yield asyncio.get_running_loop()

    @job("same-loop")
    async def same_loop(opened_in: asyncio.AbstractEventLoop = needs(loop)) -> bool:
        return opened_in is asyncio.get_running_loop()

    assert run(same_loop) is True


def test_hooks_nest_around_the_needs_and_see_the_outcome(run: Run) -> None:
    events: list[str] = []

    def noting(name: str) -> Any:
        def hook() -> Iterator[str]:
            events.append(f"{name} begins")
            try:
                yield name
            except ConnectionError:
                events.append(f"{name} sees the error")
                raise
            events.append(f"{name} ends")

        hook.__qualname__ = name
        return hook

    around_job(noting("first"))
    around_job(noting("second"))

    @job("nested")
    def nested(fails: bool, need: str = needs(noting("need"))) -> None:
        if fails:
            raise ConnectionError("the line is down")

    run(nested, fails=False)
    assert events == [f"{name} begins" for name in ("first", "second", "need")] + [
        f"{name} ends" for name in ("need", "second", "first")
    ]
    events.clear()
    with pytest.raises(ConnectionError):
        run(nested, fails=True)
    assert events[3:] == [f"{name} sees the error" for name in ("need", "second", "first")]


def test_a_hook_cannot_swallow_the_failure_of_a_job(run: Run) -> None:
    @around_job
    def swallows() -> Iterator[None]:
        try:
            yield
        except ConnectionError:
            return

    @job("fails")
    def fails() -> None:
        raise ConnectionError("the line is down")

    @job("afails")
    async def afails() -> None:
        raise ConnectionError("the line is down")

    for function in (afails, fails):
        with pytest.raises(ConnectionError, match="the line is down"):
            run(function)


@pytest.mark.parametrize(("part", "when"), [("begin", "before"), ("end", "after")])
def test_a_hook_that_raises_fails_the_run_and_is_named(part: str, when: str, run: Run) -> None:
    def session() -> Iterator[str]:
        if part == "begin":
            raise OSError("no database")
        yield "session"
        raise OSError("no database")

    ran: list[str] = []

    @job("unlucky")
    async def unlucky(db: str = needs(session)) -> None:
        ran.append(db)

    with pytest.raises(OSError, match="no database") as error:
        run(unlucky)
    text = "".join(traceback.format_exception(error.value))
    assert f"It was raised by {session.__module__}.{session.__qualname__}, {when} the job." in text
    assert ran == ([] if part == "begin" else ["session"])


def test_a_provider_cannot_swallow_the_failure_of_another_one(run: Run) -> None:
    def swallows() -> Iterator[str]:
        try:
            yield "first"
        except OSError:
            return

    def fails() -> Iterator[str]:
        raise OSError("no database")
        yield "second"

    @job("two-needs")
    async def two_needs(first: str = needs(swallows), second: str = needs(fails)) -> None: ...

    with pytest.raises(OSError, match="no database"):
        run(two_needs)


def test_a_provider_that_yields_nothing_or_twice_fails_the_run(run: Run) -> None:
    def nothing() -> Iterator[str]:
        yield from ()

    def twice() -> Iterator[str]:
        yield "a"
        yield "b"

    @job("of-nothing")
    def of_nothing(need: str = needs(nothing)) -> None: ...

    @job("of-twice")
    def of_twice(need: str = needs(twice)) -> None: ...

    with pytest.raises(RuntimeError, match="didn't yield"):
        run(of_nothing)
    with pytest.raises(RuntimeError, match="didn't stop"):
        run(of_twice)

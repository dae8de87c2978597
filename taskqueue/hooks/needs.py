"""What a job needs besides its payload: a parameter that the worker fills, such as a database session."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar, overload

T = TypeVar("T")
Provider = Callable[[], Any]
"""A function with one `yield`, sync or async, or a function that returns a context manager."""


class Needs:
    """Marks a parameter as no field of the payload: `db: Annotated[Session, Needs(session)]`.

    `needs(session)` as the parameter's default does the same, and type checkers understand it: with `Annotated`
    they ask each call of `submit` for the parameter.
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"{self!r} has no value here: only a worker fills it. In a plain call, pass a value")

    def __repr__(self) -> str:
        return f"needs({provider_name(self.provider)})"


@overload
def needs(provider: Callable[[], Iterator[T]]) -> T: ...
@overload
def needs(provider: Callable[[], AsyncIterator[T]]) -> T: ...
@overload
def needs(provider: Callable[[], AbstractContextManager[T]]) -> T: ...
@overload
def needs(provider: Callable[[], AbstractAsyncContextManager[T]]) -> T: ...
def needs(provider: Provider) -> Any:
    """Let the worker fill a parameter of a job; it is no field of the payload.

        def session() -> Iterator[Session]:
            with Session(engine) as db, db.begin():  # commits if the job returns, rolls back if it raises
                yield db

        @job("charge")
        def charge(order: int, db: Session = needs(session)) -> None: ...

    provider: A function with one `yield`, sync or async, or one that returns a context manager. It runs for each
        attempt: the code before the `yield` before the job, the rest after it. If the job raises, its exception
        is raised at the `yield`. If the provider itself raises, the attempt fails with that exception.

    `charge.submit(order=7)` does not take the parameter; a plain call does: `charge(7, db=session)`.
    """
    return Needs(provider)


def provider_name(provider: Callable[..., Any]) -> str:
    """Return the path of a function, for messages: "jobs.database.session"."""
    return f"{provider.__module__}.{provider.__qualname__}"

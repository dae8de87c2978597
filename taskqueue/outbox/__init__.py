"""Submits tasks in a transaction of the application's own database: `outbox.submit(session, send_email, …)`.

    from taskqueue import outbox

    with Session(engine) as session, session.begin():
        session.add(customer)
        outbox.submit(session, send_email, to=customer.email)

schema.py      the table, and its migration for Alembic
writing.py     writes tasks into the table, in the caller's transaction
following.py   follows a task that Redis may not know yet
database.py    the relay's way to the database: PostgreSQL, SQLite, MySQL
rows.py        what the relay reads, deletes and sets aside
relay.py       moves what is committed to Redis, exactly once
process.py     the process of the relay: one at a time over all workers

docs/outbox.md says how to use it. It needs the extra `outbox`: nothing else of the library imports SQLAlchemy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskqueue.outbox.schema import create_table, drop_table, table
    from taskqueue.outbox.writing import asubmit, asubmit_many, submit, submit_many

__all__ = ["asubmit", "asubmit_many", "create_table", "drop_table", "submit", "submit_many", "table"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{'writing' if 'submit' in name else 'schema'}")
    return getattr(module, name)

"""What an application runs around its jobs and the processes that run them, and what its jobs need.

event_loop.py  the event loop of a process, for its jobs and hooks
needs.py       a parameter of a job that is no field of its payload: `db: Session = needs(session)`
registry.py    the decorators `@around_process`, `@around_job`, `@when_failed`
running.py     runs the hooks around a process and around a job
"""

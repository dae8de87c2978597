"""Submits and follows tasks from Python, over Redis itself: `send_email.submit(to="ada@example.com")`.

job_function.py  what `@job` returns: a function that can also be submitted
options.py       the options of a task, for type checkers and as they are validated
handle.py        a submitted task: its status, its result
by_redis.py      sends tasks to Redis and waits for them, for all handles of a process
by_loop.py       the connections of asyncio's event loops
by_name.py       `submit("email", {…})`, `handle(id)`
many.py          `submit_many`: a batch
"""

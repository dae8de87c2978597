"""The worker: a parent process that watches, and warm work-horses and an I/O process that claim and run jobs.

docs/reliability.md says what it promises.

The parent process
    worker.py           sets everything up; RQ's worker as other programs see it; when to stop
    loop.py             waits for sockets, signals and timers, also while Redis is away
    scout.py            looks for new jobs in queues whose jobs nobody can begin now
    io_process/         the I/O process, in which many jobs run at once that wait for others
    boundary.py         no error of a part ends the worker: one log line, and the rest goes on
    wrong_types.py      moves keys aside that hold a wrong type of value
    horses.py           all work-horses: starts, wakes, watches, kills and replaces them
    horse_process.py    one work-horse, as the parent sees it
    children.py         what a child process does, from the fork to its end
    options.py          the options of the command line and the environment
    sockets.py          sockets of redis-py's connections, for a selector
    commands.py         receives RQ's commands to this worker
    stop_requests.py    runs to be stopped: by a command, or because their task was canceled
    leases.py           renews the leases of what runs, and settles what a dead horse left: heartbeat.lua
    maintenance/        the chores: lost jobs, schedules, batches, limits, what is due …
    presence.py         its begin and end in the record of changes, its release and its memory
    reporter.py         why the worker is not ready, and its counts: each second
    outbox_relay.py     starts the relay of the outbox in a child process, while no other worker has one
    status_server.py    /healthz, /readyz and /metrics, in a child process, from the state in status.py
A work-horse
    horse.py            claims, runs and settles one job after another
    outcomes.py         makes the outcome of a run from how it ended
    job.py              a job that can only call a registered job type
    capture.py          what a job logs, prints and reports as its progress
    live_tally.py       sends the counts of runs to the parent, also while a long job runs
    run_output.py       the output of one run
    log_setup.py        puts logging back after a job that has configured it
    armed_claim.py      a claim that waits in Redis until a queue holds a job
    callback_places.py  keeps one horse of a worker free of callbacks
    short_types.py      which job types are short, so that their jobs are claimed in groups
    time_limit.py       raises an exception in a job that takes too long
    error.py            the text that is stored of an exception
    by_rq.py            RQ's own code, for jobs that use more of RQ; settles_by_rq.py changes what that code does
In both
    child.py            forks a child process that ends with its parent
    horse_channel.py    what the parent and a horse send each other, without Redis
    decision.py         what becomes of a job whose run did not succeed: retried, failed, stopped, put back
    settle_and_claim.py settles jobs and claims the next ones, in one round trip: settle_and_claim.lua, which is
                        made of turn.lua, settle.lua, claim.lua, claim_group.lua and limits.lua
    abandoned_runs.py   settles a run that its horse could not settle
    job_log.py          the log lines about jobs
"""

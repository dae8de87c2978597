"""The worker: a parent that watches, and warm work-horses that claim and run jobs. See docs/reliability.md.

The parent
    worker.py           its loop, and RQ's worker as the outside sees it
    options.py          how it works: the command line and the environment
    horse.py            a place for one horse: forks, hears, holds, kills and buries it
    stops.py            runs that shall be stopped: a command, a canceled task
    doorbell.py         waits until a queue holds something, without taking it
    commands.py         RQ's commands to this worker
    keeper.py           leases, lost jobs, and what is due; heartbeat.lua, due.lua
    releases.py         lets go on what limits have held: release.lua
    trimming.py         takes what is gone out of the indexes: trim.lua
    status_server.py    /healthz, /readyz and /metrics, in a child of its own (child.py), from what status.py holds
    tally.py            what became of jobs, by type
A horse
    horse.py            one turn after another
    turn.py             settles a job and claims the next, in one round trip: turn.lua, limits.lua
    job.py              a job that can only call a registered job type
    capture.py          what a job logs, prints and tells of its progress
    error.py            what it raised
    story.py            the log of its jobs
    by_rq.py            RQ's own code, for jobs that use more of RQ; settles_by_rq.py: what that calls
Between the two
    channel.py             what they tell each other, without Redis
"""

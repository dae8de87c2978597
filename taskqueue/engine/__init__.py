"""The worker: a parent that watches, and warm work-horses that claim and run jobs. See docs/reliability.md.

worker.py     the parent: RQ's worker as the outside sees it
horse.py      the child: one turn after another
slot.py       what the two tell each other, without Redis
turn.py       settles a job and claims the next, in one round trip: turn.lua
stops.py      runs that shall be stopped: a command, a canceled task
limits.lua    how many jobs of a type run, and begin in a time; release.lua lets those go on that were held
job.py        a job that can only call a registered job type
due.lua       moves jobs whose time has come to their queues
heartbeat.lua keeps the leases of the jobs that run
"""

"""Tests of an application's jobs: the fixture `task_queue` of pytest, on a Redis in the process.

plugin.py        the fixture; pytest loads this file in every project where the package is installed
inline_queue.py  what the fixture is: assertions, time travel
inline_work.py   runs what is queued, by the worker's own code
"""

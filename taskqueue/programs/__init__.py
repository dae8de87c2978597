"""The programs that `taskqueue COMMAND` starts: a worker, the web server, or everything on one machine.

worker.py        `taskqueue worker`
web.py           `taskqueue web`: gunicorn with the settings of taskqueue/web/gunicorn_conf.py
laptop.py        `taskqueue run`: Redis, the web server and a worker, in one log
parts.py         the programs that `taskqueue run` starts, and their log
redis_server.py  the Redis that `taskqueue run` starts
reload.py        runs a program, and gives it the new code when a source file changes
"""

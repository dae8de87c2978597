"""gunicorn as this project runs it: its worker class, its access log, deadlines, its answers to broken requests.

web/gunicorn_conf.py imports it in gunicorn's first process, which must not load the application: at the top of a
file this room imports nothing of the project but itself.
"""

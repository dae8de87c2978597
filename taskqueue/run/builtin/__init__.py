"""The system's own job types: what it queues itself. Nobody posts them, and no file of jobs/ takes their names.

They are in no list of task types. Their tasks are read like any other: `GET /tasks/<id>`.
"""

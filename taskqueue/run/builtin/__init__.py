"""The built-in job types, which the system queues itself.

No client can post them, no file in jobs/ may use their names, and no list of task types contains them. Their
tasks can be read like any other: `GET /tasks/<id>`.
"""

"""The built-in job types, which the system queues itself. No client can post them, and no file in jobs/ may use
their names.

No list of task types contains them. Their tasks can be read like any other: `GET /tasks/<id>`.
"""

"""A Flask application that uses RQ as RQ's documentation shows it."""

import os

from flask import Flask, jsonify, request
from redis import Redis
from rq import Queue

app = Flask(__name__)
queue = Queue(connection=Redis.from_url(os.environ["TASK_QUEUE_URL"]))


@app.post("/tasks")
def submit():
    job = queue.enqueue("rq_app.noop", **request.get_json())
    return jsonify({"id": job.id, "status": job.get_status(refresh=False)}), 202

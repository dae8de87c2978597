"""FastAPI as tutorials show it: the task is one JSON text, pushed on a list; its state is a key."""

import json
import os
import uuid
from typing import Any

import redis
from fastapi import FastAPI, HTTPException

RESULT_SECONDS = 86_400
app = FastAPI()
tasks = redis.Redis.from_url(os.environ["TASK_QUEUE_URL"])


@app.post("/tasks", status_code=202)
async def submit(task_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    task = {"id": str(uuid.uuid4()), "type": task_type, "payload": payload, "status": "queued"}
    text = json.dumps(task)
    tasks.set(f"task:{task['id']}", text, ex=RESULT_SECONDS)
    tasks.lpush("tasks:default", text)
    return task


@app.get("/tasks/{task_id}")
async def show(task_id: str) -> dict[str, Any]:
    text = tasks.get(f"task:{task_id}")
    if text is None:
        raise HTTPException(404)
    return json.loads(text)

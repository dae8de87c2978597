"""Jobs, results and workers as any program might write them, and the addresses that show them."""

from base64 import b64encode
from typing import Any

from flask import Flask
from redis import Redis
from rq.executions import Execution
from rq.job import Job

ALL_REGISTRIES = ("queued", "scheduled", "deferred", "started", "finished", "failed", "canceled")
FAR = 10**10  # a score, in seconds: nothing in a registry has expired
CREATED = "2026-11-24T10:00:00.000000Z"


def addresses(app: Flask, methods: str, **values: list[Any]) -> list[str]:
    """Yield every address under /rq for a method, with every value of each of its parts."""
    found = []
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            if rule.rule.startswith("/rq/") and methods in (rule.methods or ()) and "static" not in rule.rule:
                parts: list[dict[str, Any]] = [{}]
                for name in sorted(rule.arguments):
                    parts = [part | {name: value} for part in parts for value in values[name]]
                found += [built[1] for part in parts if (built := rule.build(part | dict(rule.defaults or {})))]
    return sorted(set(found))


def write_job(redis: Redis, job_id: str, registry: str = "failed", **more: Any) -> None:
    """A job as any program might write it."""
    stored = {"data": '["f", null, [], {}]', "origin": "default", "status": registry, "created_at": CREATED} | more
    redis.hset(f"rq:job:{job_id}", mapping={name: value for name, value in stored.items() if value is not None})
    redis.sadd("rq:queues", "rq:queue:default")
    if registry == "queued":
        redis.rpush("rq:queue:default", job_id)
    else:
        redis.zadd(f"rq:{registry}:default", {job_id: FAR})


def write_result(redis: Redis, job_id: str, kind: int = 1, **stored: Any) -> None:
    redis.xadd(f"rq:results:{job_id}", {"type": kind, **stored})


def json_result(text: str) -> str:
    return b64encode(text.encode()).decode()


def write_worker(redis: Redis, name: str, job: Job | None = None, **more: Any) -> None:
    redis.sadd("rq:workers", f"rq:worker:{name}")
    stored = {"queues": "high,default", "state": "busy", "birth": CREATED, "last_heartbeat": CREATED} | more
    redis.hset(f"rq:worker:{name}", mapping=stored)
    if job:
        with redis.pipeline() as pipeline:
            Execution.create(job, 60, pipeline, worker_name=name)
            pipeline.execute()


def sweep(app: Flask, method: str, job_ids: list[str], queues: list[str]) -> list[str]:
    values: dict[str, list[Any]] = {
        "instance_number": [0, 1],
        "queue_name": queues,
        "registry_name": [*ALL_REGISTRIES, "odd"],
        "per_page": [100],
        "order": ["asc", "dsc"],
        "page": [1, 2],
        "job_id": [*job_ids, "vanished", "a:b", "no id", "x" * 500, "\x00"],
    }
    return addresses(app, method, **values)

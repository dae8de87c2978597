"""Decides which workers are alive, for everything that counts or names workers.

Our workers send a heartbeat every 0.8 seconds. A stock `rq worker` sends one only every few minutes, so it counts
as alive until Redis deletes its hash.
"""

WORKER_TTL_SECONDS = 90  # Redis keeps the hash of our worker this long after its last heartbeat
SILENT_SECONDS = 12  # our worker is lost after this time without a heartbeat: its leases have expired by then
GONE = -2  # Redis's answer to TTL for a key that does not exist


def lives(ttl: int, horses: bytes | None) -> bool:
    """Return whether a worker is alive, by the TTL of its hash, which counts from its last heartbeat.

    `horses` is the field `tq:horses` of the hash, which only our workers have. Redis's own clock counts.
    """
    return ttl != GONE if horses is None else ttl > WORKER_TTL_SECONDS - SILENT_SECONDS

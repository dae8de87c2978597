"""Which workers live. Everything that counts or names workers asks here.

Ours beat every second. A stock `rq worker` does so every few minutes, so it is believed until Redis forgets it.
"""

WORKER_TTL_SECONDS = 90  # for so long Redis keeps the hash of a worker of ours after its last heartbeat
SILENT_SECONDS = 12  # one of ours that is silent for longer is lost: its leases have run out before
GONE = -2  # what Redis's TTL says where there is no such key


def lives(ttl: int, horses: bytes | None) -> bool:
    """Whether a worker does; the TTL of its hash tells how long it is silent, by Redis's own clock.

    `horses`: the field `tq:horses` of its hash, which only ours have.
    """
    return ttl != GONE if horses is None else ttl > WORKER_TTL_SECONDS - SILENT_SECONDS

"""The fields of ours in RQ's job hash. RQ leaves fields that it does not know as they are."""

ATTEMPT = "tq:attempt"  # attempts begun so far
ATTEMPTS = "tq:attempts"  # attempts allowed
PROGRESS = "tq:progress"  # JSON: what progress() was last told
DEATHS = "tq:deaths"  # how many of its attempts ended their work-horse
TAGS = "tq:tags"  # names with commas between them
EXPIRES_AT = "tq:expires_at"  # seconds since 1970: a task that has not begun by then never does
EXPIRED = "tq:expired"  # 1: it was dropped for that
TRACE = "tq:trace"  # the id of the request that queued it and, behind a space, its traceparent
CALLBACK_URL = "tq:callback_url"
CALLBACK = "tq:callback"  # JSON: the hash of the job that calls it; see scripts/callback.lua
CALLBACKS = "tq:callbacks"  # how many such jobs were queued
FAILURE = "tq:failure"  # why it failed for good: failures.text_of
LIMITED = "tq:limited"  # the job type whose limits hold for it; see engine/limits.lua
CANCEL = "tq:cancel"  # 1: it runs, and shall be stopped

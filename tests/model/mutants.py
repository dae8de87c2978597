# ruff: noqa: E501  a row is a line, so that the table can be read
"""Faults for the proof of the model's test (test_mutants.py).

A row names a fault, the file, the text to replace, and the text to put in its place; none: the text is left out.
Where the engine has changed and a text is not there any more, write the same fault for the engine as it is now.
"""

from typing import NamedTuple

LUA = "taskqueue/store/lua/"


class Mutant(NamedTuple):
    """One fault."""

    name: str
    file: str
    text: str
    fault: str = ""


FILES = {
    "claim.lua": [
        ("a lease is missing", "redis.call('ZADD', prefix .. ':wip:' .. origin, precisely(lease), member)"),
        ("a worker has no entry of its run", "redis.call('SADD', executions_key, member)"),
        ("an attempt is counted twice", "(tonumber(hash['tq:attempt']) or 0) + 1", "(tonumber(hash['tq:attempt']) or 0) + 2"),
        ("a run is not counted by its limit", "prefix, now, rq_now).begin_run(member)", "prefix, now, rq_now)"),
        ("an expired job is run", "if hash['tq:cancel'] or has_expired(hash) then", "if hash['tq:cancel'] then"),
        ("a canceled job that RQ has put back is run", "if hash['tq:cancel'] or has_expired(hash) then", "if has_expired(hash) then"),
        ("a pause is ignored", "redis.call('EXISTS', prefix .. ':suspended', 'tq:paused') == 0", "redis.call('EXISTS', prefix .. ':suspended') == 0"),
        ("rq suspend is ignored", "if redis.call('EXISTS', prefix .. ':suspended') == 1 then return nil end"),
        ("a running job expires", "if hash.ttl or hash.ended_at then redis.call('PERSIST', key) end"),
        ("a job that must run alone runs in the I/O process", "local is_io = not alone and io_types:find(", "local is_io = io_types:find("),
        ("a work-horse runs what is for the I/O process", "return is_io == (kind == 'io')", "return is_io or kind == 'cpu'"),
        ("a job of the other kind goes to the end of its queue", "redis.call('LPUSH', popped[1], popped[2][1])", "redis.call('RPUSH', popped[1], popped[2][1])"),
        ("a job of the other kind is lost", "redis.call('LPUSH', popped[1], popped[2][1])"),
        ("nobody looks behind jobs of the other kind", "            claim_behind(queues, count)\n"),
        ("a job that was found behind others stays on its queue", "redis.call('LREM', queue_key, 1, job)"),
        ("too many jobs are taken from behind others", "claim_job(queue_key, job)\n                    if is_late or #claimed >= 3 * count then return end", "claim_job(queue_key, job)"),
        ("an expired job that was let through keeps its limit's place", "if hash['tq:limited'] then limits_of(hash['tq:limited'], prefix, now, rq_now).drop(job) end"),
        ("jobs that begin at once get the same execution", "claim .. '-' .. #claimed / 3 + 1", "claim .. '-1'"),
    ],
    "claim_group.lua": [
        ("a job at its last attempt is claimed in a group", "if (tonumber(hash.retries_left) or 0) < 1 then return nil end"),
        ("a group's jobs stay on their queue", "redis.call('LPOP', queue_key, #group - 1)"),
        ("a group takes a job too many off its queue", "redis.call('LPOP', queue_key, #group - 1)", "redis.call('LPOP', queue_key, #group)"),
        ("a group has no leases", "redis.call('ZADD', prefix .. ':wip:' .. queue_key:sub(#prefix + 8), unpack(leases))"),
        ("a group's worker has no entry of its runs", "redis.call('SADD', executions_key, unpack(members))"),
        ("a group takes longer than it may", "if not next_cost or cost + next_cost > GROUP_MICROSECONDS then break end", "if not next_cost then break end"),
    ],
    "settle.lua": [
        ("a lease stays after the end", "redis.call('ZREM', prefix .. ':wip:' .. origin, key.member) == 1", "redis.call('ZSCORE', prefix .. ':wip:' .. origin, key.member)"),
        ("an outcome is accepted twice", "redis.call('ZREM', prefix .. ':wip:' .. origin, key.member) == 1", "redis.call('ZREM', prefix .. ':wip:' .. origin, key.member) < 2"),
        ("a worker's entry stays after the end", "a job has one execution at a time\n    redis.call('SREM', executions_key, key.member)", "a job has one execution at a time"),
        ("an execution's record stays", "redis.call('DEL', key.execution, key.executions)", "redis.call('DEL', key.executions)"),
        ("an attempt that was put back counts", "'tq:alone', '1') end\n        once(at, 'attempt', 'HINCRBY', key.job, 'tq:attempt', -1)", "'tq:alone', '1') end"),
        ("a job that must run alone is not marked", "if ARGV[at + 14] == '1' then redis.call('HSET', key.job, 'tq:alone', '1') end"),
        ("a limit's place is not freed", "if limits then limits.end_run(key.member) end"),
        ("a limit releases nobody at an end", "if limits then limits.release() end\n    if callback_url", "if callback_url"),
        ("a retry is queued and scheduled", "redis.call('HSET', key.job, 'status', 'scheduled')\n            redis.call('ZADD'", "once(at, 'queue', 'RPUSH', prefix .. ':queue:' .. origin, job)\n            redis.call('HSET', key.job, 'status', 'scheduled')\n            redis.call('ZADD'"),
        ("a retry is not queued", "once(at, 'queue', front and 'LPUSH' or 'RPUSH', prefix .. ':queue:' .. origin, job)"),
        ("a retry is not used up", "redis.call('HSET', key.job, 'retries_left', ARGV[at + 10], unpack(ended))"),
        ("a cancel is forgotten at the end", "if must_cancel and how ~= 'finished' then", "if false then"),
        ("a result is not stored", "keep_result(at, key.results, ttl)\n            rest_in(prefix .. ':finished:'", "rest_in(prefix .. ':finished:'"),
        ("a finished job is in no registry", "rest_in(prefix .. ':finished:' .. origin, key.job, job, ttl)"),
        ("a callback is not queued", "if callback_url and (final or how == 'canceled') then", "if callback_url and final then"),
        ("a job with dependents is settled without them", "if final and not is_over and redis.call('EXISTS', key.job .. ':dependents') == 1 then", "if false then"),
        ("jobs that are settled together have no results", "keep_result(outcome, prefix .. ':results:' .. job, ttl)"),
        ("jobs that are settled together keep their leases", "redis.call('ZREM', wip, unpack(members))"),
        ("jobs that are settled together forget their dependents", "if redis.call('EXISTS', unpack(dependents)) > 0 then return end"),
        ("jobs that are settled together are another execution's", "if not score then return end -- another", "if false then return end -- another"),
    ],
    "settle_and_claim.lua": [
        ("a repeated claim takes another job", "if #claimed > 0 then return { settled, 'claimed', claimed, moved_aside } end\nend", "claimed = {}\nend"),
        ("a repeated claim gives a job without a lease", "if origin and redis.call('ZSCORE', prefix .. ':wip:' .. origin, member) then", "if origin then"),
        ("a repeated claim knows one job of a group", "for place = earlier[0] and 0 or 1, earlier[0] and 0 or tonumber(most) do", "for place = earlier[0] and 0 or 1, earlier[0] and 0 or 1 do"),
        ("a repeated claim forgets the jobs that begin at once", "more:match('^[.-](%d+)$')", "more:match('^[.](%d+)$')"),
        ("nobody is told that jobs of the other kind wait", "others_wait and 'others' or 'empty'", "'empty'"),
        ("a claim that has been made waits on", "redis.call('EXPIRE', armed, #claimed > 0 and 0 or ARMED_SECONDS)", "redis.call('EXPIRE', armed, ARMED_SECONDS)"),
        ("a job stays with the bell", "while type(redis.pcall('LMOVE', bell, KEYS[i], 'RIGHT', 'LEFT')) == 'string' do end"),
    ],
}  # fmt: skip
OTHERS = [
    ("an enqueue that is sent twice queues twice", LUA + "enqueue.lua", "if known then", "if false then"),
    ("a dedupe key is not set", LUA + "enqueue.lua", "if option.dedupe then redis.call('SET', option.dedupe, id, 'EX', option.dedupe_seconds) end"),
    ("a dedupe key is held by an ended task", LUA + "enqueue.lua", "if at and at[1] and not ENDED[at[1]] and not expired then", "if at and at[1] and not expired then"),
    ("a parent does not know its dependent", LUA + "enqueue.lua", "redis.call('SADD', prefix .. ':job:' .. parent .. ':dependents', id)"),
    ("a dependent does not wait", LUA + "enqueue.lua", "status = 'deferred'\n        if ENDED", "if ENDED"),
    ("a callback is not noted as owed", LUA + "enqueue.lua", "if option.callback then redis.call('ZADD', 'tq:callbacks:owed', redis.call('TIME')[1], id) end"),
    ("a canceled job stays on its queue", LUA + "cancel.lua", "if status == 'queued' then redis.call('LREM', prefix .. ':queue:' .. origin, 0, id) end"),
    ("a canceled job stays scheduled", LUA + "cancel.lua", "redis.call('ZREM', prefix .. ':' .. registry .. ':' .. origin, id)"),
    ("a canceled job stays held", LUA + "cancel.lua", "redis.call('LREM', 'tq:limit:' .. limited .. list, 1, id)", "local _ = list"),
    ("a running job is canceled without its worker", LUA + "cancel.lua", "redis.call('HSET', KEYS[1], 'tq:cancel', '1')"),
    ("a requeued job stays failed", LUA + "requeue.lua", "redis.call('ZREM', prefix .. ':failed:' .. origin, id)"),
    ("a requeued job has no new attempts", LUA + "requeue.lua", "if retries > 1 then redis.call('HSET', KEYS[1], 'retries_left', retries - 1) end"),
    ("a requeued job expires", LUA + "requeue.lua", "redis.call('PERSIST', key) -- it"  , "local _ = key -- it"),
    ("a deleted job stays on its queue", LUA + "delete.lua", "if not IN_REGISTRY[status] then remove('LREM', key, 0, id) end"),
    ("a deleted run keeps its limit's place", LUA + "delete.lua", "if limited then remove('SREM', 'tq:limit:' .. limited .. ':running', run[2]) end"),
    ("a running job is deleted", LUA + "delete.lua", "return { 'running', '' }", "runs[#runs + 1] = { wip, member }"),
    ("a due job stays scheduled", LUA + "move_due.lua", "redis.call('ZREM', KEYS[1], job)\n        redis.call('HSET'", "redis.call('HSET'"),
    ("a due job is queued twice", LUA + "move_due.lua", "redis.call(front and 'LPUSH' or 'RPUSH', KEYS[2], job)", "redis.call('RPUSH', KEYS[2], job, job)"),
    ("a batch counts a task twice", LUA + "batch_counts.lua", "(counts[status] or 0) + 1", "(counts[status] or 0) + 2"),
    ("a batch ends before its tasks", LUA + "finish_batch.lua", "return status and not ENDED[status]", "return status == 'queued'"),
    ("a batch does not release its last task", LUA + "finish_batch.lua", "redis.call(waits[3] == '1' and 'LPUSH' or 'RPUSH', queue, task)"),
    ("a batch ends and stays open", LUA + "finish_batch.lua", "redis.call('ZREM', KEYS[3], batch)"),
    ("a callback is queued twice", LUA + "callback.lua", "redis.call('RPUSH', queue, id)", "redis.call('RPUSH', queue, id, id)"),
    ("a callback stays owed", LUA + "callback.lua", "redis.call('ZREM', 'tq:callbacks:owed', job)"),
    ("a missed callback is never queued", LUA + "missed_callbacks.lua", "call_back(job, prefix, rq_now)"),
    ("one job too many begins", LUA + "limits.lua", "+ passed >= concurrency then return false", "+ passed > concurrency then return false"),
    ("one job too many begins in an hour", LUA + "limits.lua", "not start or tonumber(start) <= now - seconds", "true"),
    ("a held job is forgotten", LUA + "limits.lua", "redis.call(has_passed and 'LPUSH' or 'RPUSH', key .. ':held', job)"),
    ("a paused type releases its jobs", LUA + "limits.lua", "if paused then return false end"),
    ("a place that was kept passes a pause", LUA + "limits.lua", "if has_passed and not paused then return true end", "if has_passed then return true end"),
    ("changed limits leave the next jobs", LUA + "set_limits.lua", "limits.take_back()"),
    ("a pause of a type is not seen by claims", LUA + "set_limits.lua", "redis.call('SADD', KEYS[2], 'type:' .. job_type)"),
    ("a changed limit is not seen by claims", LUA + "set_limits.lua", "redis.call('SADD', KEYS[2], 'limits:' .. job_type)"),
    ("a changed limit does not count what runs", LUA + "set_limits.lua", "if ARGV[5] ~= '' then count_running() end"),
    ("a resumed type releases nobody", LUA + "set_limits.lua", "limits.release()"),
    ("a worker that starts sets changed limits back", LUA + "declare_limits.lua", "if redis.call('HEXISTS', key, 'changed') == 0 then", "if true then"),
    ("a run under a changed limit keeps its place", LUA + "claim.lua", "if not hash['tq:limited'] then redis.call('HSET', key, 'tq:limited', limited) end"),
    ("a group has jobs of a limited type", LUA + "claim_group.lua", "if limited_by(hash) then return nil end"),
    ("a released job is not queued", LUA + "limits.lua", "redis.call('LPUSH', queue, job)\n", "local _ = job\n"),
    ("a place that was kept is never given back", LUA + "limits.lua", "local has_passed = redis.call('LREM', key .. ':passed', 1, job) == 1", "local has_passed = redis.call('LPOS', key .. ':passed', job)"),
    ("a lease is not renewed", LUA + "heartbeat.lua", "redis.call('ZADD', wip, 'XX', now + lease, member)"),
    ("a worker does not hear of a cancel", LUA + "heartbeat.lua", "if status == 'canceled' or must_cancel then", "if status == 'canceled' then"),
    ("a lease that is gone comes back", LUA + "heartbeat.lua", "elseif redis.call('ZSCORE', wip, member) then\n        redis.call('ZADD', wip, 'XX', now", "else\n        redis.call('ZADD', wip, now"),
    ("a dead horse's claim counts as an attempt", "taskqueue/worker/horse_process.py", "return RETURNED if is_of_claim(execution, state.claim) else None", "return ending if is_of_claim(execution, state.claim) else None"),
    ("a claim that came late is kept", "taskqueue/worker/leases.py", "if not is_known(job_id, execution) and not", "if False and not"),
    ("a run has no record for RQ's tools", LUA + "heartbeat.lua", "redis.call('ZADD', runs, now + lease, execution)\n        redis.call('EXPIRE', record", "redis.call('DEL', record)\n        redis.call('EXPIRE', record"),
    ("a lease is left of a job that RQ has deleted", LUA + "heartbeat.lua", "redis.call('ZREM', wip, member)"),
    ("a requeued job is still that of the run which RQ has canceled", LUA + "requeue.lua", "redis.call('ZREM', prefix .. ':wip:' .. origin, member)"),
    ("a horse dies in a group, and all its jobs have used an attempt", "taskqueue/worker/horse_process.py", "if state.phase is not Phase.RESTING and (job, execution) == (state.job, state.execution):", "if state.phase is not Phase.RESTING and is_of_claim(execution, state.claim):"),
    ("what had ended in a group is lost with its horse", "taskqueue/worker/leases.py", "self.settle_ended(claims, ended)\n        have_ended", "have_ended"),
    ("a job of a group is put back before it begins", "taskqueue/worker/horse_channel.py", "return self.runs_in_group and is_to_begin and is_of_claim(execution, self.claim)", "return False"),
    ("a second job of the same execution is known", "taskqueue/worker/horse_channel.py", "if (job, execution) == (self.job, self.execution):", "if execution == self.execution:"),
    ("what has ended before a long job is put back", "taskqueue/worker/horse_process.py", "return ended if state.runs_in_group and self.channel.group_over else []", "return []"),
    ("the jobs behind a long one are held by its horse", "taskqueue/worker/horse_process.py", "state = state._replace(claim=\"\")"),
    ("one of many jobs ends the I/O process, and all are blamed", "taskqueue/worker/io_process/io_child.py", "return SUSPECT", "return ending"),
    ("nobody is blamed for the end of the I/O process", "taskqueue/worker/io_process/io_child.py", "self.channel.count() == 1 and not", "False and not"),
    ("a run whose outcome is on its way is blamed for the end of the I/O process", "taskqueue/worker/io_process/io_child.py", "if state.phase is not Phase.RUNNING:\n            return RETURNED", "if state.phase is not Phase.RUNNING:\n            return ending"),
    ("all runs have timed out that a killed I/O process had", "taskqueue/worker/io_process/io_child.py", "return OVERDUE if 0 < state.deadline < time.monotonic() else RETURNED", "return OVERDUE"),
    ("what the I/O process has claimed is put back before its answer comes", "taskqueue/worker/io_process/io_child.py", "run in runs or is_of_claim(run[1], claim)", "run in runs"),
    ("what the I/O process had claimed and not begun is left to nobody", "taskqueue/worker/io_process/io_child.py", "return RETURNED if is_of_claim(execution, self.channel.claim) else None", "return None"),
    ("what the I/O process ran comes back in the other order", "taskqueue/worker/leases.py", "key=lambda run: -run[0]", "key=lambda run: run[0]"),
    ("what a claim gave comes back in the other order", "taskqueue/worker/leases.py", "-place_in_claim(run[1])", "place_in_claim(run[1])"),
    ("a lost group comes back in the other order", "taskqueue/worker/maintenance/lost_jobs.py", "-place_in_claim(", "place_in_claim("),
    ("a lost job of a group has used an attempt", "taskqueue/worker/maintenance/lost_jobs.py", "ending = MAY_HAVE_BEGUN"),
    ("a lost job is put back without an attempt", "taskqueue/worker/maintenance/lost_jobs.py", "    How.WORKER_LOST,", "    How.RETURNED,"),
    ("a settled job with dependents keeps its limit's place", "taskqueue/worker/settles_by_rq.py", "self.connection.srem(limit_running_key(job.type_name), execution.composite_key)"),
    ("a settled job with dependents calls nobody back", "taskqueue/worker/settles_by_rq.py", "MissedCallbacks(self.connection).run(job.id)"),
    ("RQ's code settles a job for another execution", "taskqueue/worker/settles_by_rq.py", "self.connection.zscore(key, execution.composite_key) is not None", "bool(key)"),
]  # fmt: skip
MUTANTS = [Mutant(name, LUA + file, *texts) for file, rows in FILES.items() for name, *texts in rows] + [
    Mutant(*row) for row in OTHERS
]

-- Settles the job that a work-horse has run, and claims the next one, in a single round trip.
-- Loaded behind wrong_types.lua, callback.lua and limits.lua, whose functions it calls.
--
-- Either all of it happens or, where Redis refuses writes, nothing does: at every moment a job is in one of the
-- lists. Both halves may be sent again when the answer was lost: the second time they change nothing.
--
-- KEYS[1]   rq:worker:<name>             the worker's hash
-- KEYS[2…]  rq:queue:<name>              the queues to claim from, the most important first
--
-- ARGV[1]   prefix                       "rq", or RQ_KEY_PREFIX
-- ARGV[2]   worker                       the worker's name
-- ARGV[3]   lease                        seconds until a job whose worker is silent is given to another worker
-- ARGV[4]   rq_now                       now, as RQ writes it: 2026-11-24T10:43:05.120000Z
-- ARGV[5]   claim                        the execution's id for the next job; '': claim nothing
-- ARGV[6]   again                        '1': this call is sent again, because its answer was lost
-- ARGV[7]   outcome                      finished, failed, stopped, retried, postponed, returned; '': settle nothing
-- and, with an outcome:
-- ARGV[8]   job                          the job's id
-- ARGV[9]   execution                    its execution's id, as the claim gave it
-- ARGV[10]  origin                       the name of its queue
-- ARGV[11]  began                        seconds since 1970, when the execution began
-- ARGV[12]  ended                        seconds since 1970
-- ARGV[13]  ttl                          seconds to keep the result or the failure; 0: not at all, -1: for ever
-- ARGV[14]  text                         finished: the result, base64 of JSON, or '' for None
--                                        else: the traceback, base64 of zlib
-- ARGV[15]  delay                        retried, postponed: seconds until the next attempt; retried: 0: at once
-- ARGV[16]  retries_left                 retried: the number to store
-- ARGV[17]  deaths                       how many of its attempts ended their work-horse, this one included;
--                                        '': leave the stored number
-- ARGV[18]  failure                      failed, stopped: what it has in common with others (tasks/failure.py)
--                                        postponed: why and since when (tasks/put_off.py); '': it is unknown here
-- ARGV[19]  reason                       failed, stopped: the code for why (tasks/reason.py)
-- and, if the job may have log lines (worker/capture.py):
-- ARGV[20]  attempt                      the number of the attempt
-- ARGV[21]  progress                     Field.PROGRESS to store; '': there is none, or it is stored already
-- ARGV[22…] at, level, line; at, level, line …: the lines that are not in its log yet
--
-- Returns {settled, claimed, job, fields, moved}
--   settled  'yes'; 'lost': another execution has the job, or nobody, so the outcome is dropped;
--            'canceled': somebody asked to cancel the job, so it is canceled instead of the outcome;
--            'dependents': other jobs wait for it, so nothing was done: RQ's own code must settle it;
--            '': there was nothing to settle
--   claimed  'claimed'; 'empty': no job waits; 'suspended': `rq suspend` holds; 'skipped': no claim was asked for,
--            or 'dependents' came before it
--   job      claimed: the job's id; else ''
--   fields   claimed: the job's hash as HGETALL gives it, before the claim; else empty
--   moved    what was moved aside because of its type, in words

local prefix, worker, lease, rq_now, claim, again, outcome = unpack(ARGV, 1, 7)
local worker_key = KEYS[1]
-- Redis's clock: those of the workers may differ. Times are sent as text, because it costs Redis a microsecond to
-- print a number.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function seconds_from_now(seconds) return string.format('%d', time[1] + seconds) end
local function precisely(seconds) return string.format('%d.%06d', time[1] + seconds, time[2]) end

local LOG_LINES = 1000 -- tasks/log_lines.py
local RESULT = { finished = 1, failed = 2, stopped = 2, retried = 4, postponed = 4 } -- rq.results.Result.Type
local KEPT_RESULTS = 10 -- as RQ has it

local function keys_of(job, execution)
    return {
        job = prefix .. ':job:' .. job,
        results = prefix .. ':results:' .. job,
        executions = prefix .. ':executions:' .. job,
        execution = prefix .. ':execution:' .. job .. ':' .. execution,
        member = job .. ':' .. execution,
    }
end

local function keep_for(key, ttl)
    if ttl > 0 then redis.call('EXPIRE', key, ARGV[13]) else redis.call('PERSIST', key) end
end

local done = {} -- the steps of settle() that must not be repeated, if wrong_types.lua calls it a second time

local function once(step, ...)
    if not done[step] then redis.call(...) end
    done[step] = true
end

local function keep_result(key, ttl)
    local execution, began, ended, text = ARGV[9], ARGV[11], ARGV[12], ARGV[14]
    local fields = {
        'type', RESULT[outcome], 'worker_name', worker, 'execution_id', execution,
        'execution_started_at', began, 'execution_ended_at', ended,
    }
    if text ~= '' then
        fields[#fields + 1] = outcome == 'finished' and 'return_value' or 'exc_string'
        fields[#fields + 1] = text
    end
    once('result', 'XADD', key, 'MAXLEN', '~', KEPT_RESULTS, '*', unpack(fields))
    keep_for(key, ttl)
end

local function rest_in(registry, key, job, ttl)
    redis.call('ZADD', registry, ttl > 0 and seconds_from_now(ttl) or '+inf', job)
    keep_for(key, ttl)
end

local function stored_before(results)
    -- Whether this outcome is stored already: the answer to an earlier call may have been lost.
    local _, latest = unpack(redis.call('XREVRANGE', results, '+', '-', 'COUNT', 1)[1] or {})
    for i = 1, latest and #latest or 0, 2 do
        if latest[i] == 'execution_id' then return latest[i + 1] == ARGV[9] end
    end
end

local function keep_log(job, ttl)
    local key = 'tq:logs:' .. job
    for i = 22, #ARGV, 3 do
        redis.call('XADD', key, 'MAXLEN', '~', LOG_LINES, '*', 'attempt', ARGV[20],
            'at', ARGV[i], 'level', ARGV[i + 1], 'line', ARGV[i + 2])
    end
    if ttl == 0 then redis.call('DEL', key) else keep_for(key, ttl) end
end

local function cancel(key, job, origin, ttl)
    redis.call('HSET', key, 'status', 'canceled', 'ended_at', rq_now)
    redis.call('HDEL', key, 'tq:cancel', 'tq:called') -- called: for an earlier end, if RQ's code has requeued it
    redis.call('ZADD', prefix .. ':canceled:' .. origin, time[1], job)
    if ttl > 0 then redis.call('EXPIRE', key, ttl) end
end

local CALLBACK_SECONDS = 90000 -- for so long its callback is tried: run/builtin/callback.py

local function settle()
    local job, execution, origin, ttl = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[13])
    local key = keys_of(job, execution)
    local status, must_cancel, limited, callback_url = unpack(redis.call('HMGET', key.job, 'status', 'tq:cancel',
        'tq:limited', 'tq:callback_url'))
    if callback_url and ttl >= 0 and ttl < CALLBACK_SECONDS then -- the callback sends the task as it is then
        ttl, ARGV[13] = CALLBACK_SECONDS, string.format('%d', CALLBACK_SECONDS)
    end
    if must_cancel and outcome ~= 'finished' then outcome = 'canceled' end
    local final = outcome == 'finished' or outcome == 'failed' or outcome == 'stopped'
    if final and redis.call('EXISTS', key.job .. ':dependents') == 1 then return 'dependents' end

    -- The entry in the started registry, and nothing else, decides which execution has the job.
    done.owned = done.owned or redis.call('ZREM', prefix .. ':wip:' .. origin, key.member) == 1
    if not done.owned then
        redis.call('SREM', worker_key .. ':executions', key.member)
        return again == '1' and stored_before(key.results) and 'yes' or 'lost'
    end
    redis.call('DEL', key.execution, key.executions) -- a job has one execution at a time
    redis.call('SREM', worker_key .. ':executions', key.member)
    local limits = limited and limits_of(limited, prefix, now, rq_now)
    if limits then limits.end_run(key.member) end
    -- A job that was canceled or deleted while it ran stays so. Any other status counts for nothing: a program may
    -- have called job.save() on an object that it had read before.
    if not status or status == 'canceled' then return 'lost' end

    local ended = { 'ended_at', rq_now, 'last_heartbeat', rq_now }
    if ARGV[17] ~= '' then redis.call('HSET', key.job, 'tq:deaths', ARGV[17]) end
    if (ARGV[21] or '') ~= '' then redis.call('HSET', key.job, 'tq:progress', ARGV[21]) end
    if outcome == 'finished' then
        if ttl == 0 then
            redis.call('DEL', key.job, key.results)
        else
            redis.call('HSET', key.job, 'status', 'finished', unpack(ended))
            keep_result(key.results, ttl)
            rest_in(prefix .. ':finished:' .. origin, key.job, job, ttl)
        end
    elseif outcome == 'failed' or outcome == 'stopped' then
        redis.call('HSET', key.job, 'status', outcome, 'tq:failure', ARGV[18], 'tq:reason', ARGV[19], unpack(ended))
        keep_result(key.results, ttl)
        rest_in(prefix .. ':failed:' .. origin, key.job, job, ttl)
    elseif outcome == 'canceled' then
        cancel(key.job, job, origin, ttl)
    elseif outcome == 'retried' then
        local delay = tonumber(ARGV[15])
        keep_result(key.results, ttl)
        redis.call('HSET', key.job, 'retries_left', ARGV[16], unpack(ended))
        if delay > 0 then
            redis.call('HSET', key.job, 'status', 'scheduled')
            redis.call('ZADD', prefix .. ':scheduled:' .. origin, seconds_from_now(delay), job)
        else
            local front = redis.call('HGET', key.job, 'enqueue_at_front_on_retry') == '1'
            redis.call('HSET', key.job, 'status', 'queued', 'enqueued_at', rq_now)
            once('queue', front and 'LPUSH' or 'RPUSH', prefix .. ':queue:' .. origin, job)
        end
    elseif outcome == 'postponed' then
        if ARGV[18] ~= '' then -- it was not its turn: tasks/put_off.py
            redis.call('HSET', key.job, 'tq:put_off', ARGV[18])
        elseif redis.call('HSETNX', key.job, 'tq:unknown_since', time[1]) == 1 then
            keep_result(key.results, ttl) -- this worker does not know its type or a field: worker/decision.py
        end
        redis.call('HSET', key.job, 'status', 'scheduled')
        once('attempt', 'HINCRBY', key.job, 'tq:attempt', -1)
        redis.call('ZADD', prefix .. ':scheduled:' .. origin, seconds_from_now(tonumber(ARGV[15])), job)
    else -- returned: it did not run to its end through no fault of its own, so the attempt does not count
        redis.call('HSET', key.job, 'status', 'queued')
        once('attempt', 'HINCRBY', key.job, 'tq:attempt', -1)
        once('queue', 'LPUSH', prefix .. ':queue:' .. origin, job)
        if limits then limits.keep_place(job) end
    end
    if limits then limits.release() end
    if callback_url and (final or outcome == 'canceled') then call_back(job, prefix, rq_now) end
    if ARGV[20] then keep_log(job, ttl) end
    redis.call('PUBLISH', 'tq:task:' .. job, outcome) -- tasks/changes.py
    return outcome == 'canceled' and outcome or 'yes'
end

local function claimed_before()
    -- The job that has this claim already: the answer to an earlier call may have been lost. A worker has only a
    -- handful of executions.
    for _, member in ipairs(with_care().careful('SMEMBERS', worker_key .. ':executions')) do
        local job, execution = member:match('^(.*):(.*)$')
        local key = execution == claim and keys_of(job, execution)
        local origin = key and redis.call('HGET', key.job, 'origin')
        -- Its lease may be gone: it has run out, or RQ's own code has canceled the job.
        if origin and redis.call('ZSCORE', prefix .. ':wip:' .. origin, key.member) then return job end
    end
end

local MAX_SET_ASIDE = 1000

local function set_aside(job, why)
    local count = redis.pcall('HLEN', 'tq:aside')
    if type(count) == 'number' and count < MAX_SET_ASIDE then redis.pcall('HSET', 'tq:aside', job, why) end
end

local NOT_TO_RUN = { started = true, finished = true, canceled = true, stopped = true }

local function has_expired(hash)
    local expires_at = tonumber(hash['tq:expires_at'])
    return expires_at and (hash['tq:attempt'] or '0') == '0' and expires_at <= tonumber(precisely(0))
end

local function drop(job, hash, origin)
    local key = prefix .. ':job:' .. job
    if not hash['tq:cancel'] then redis.call('HSET', key, 'tq:expired', '1') end
    cancel(key, job, origin, tonumber(hash.failure_ttl) or 86400)
    redis.call('PUBLISH', 'tq:task:' .. job, 'canceled')
    if hash['tq:callback'] then call_back(job, prefix, rq_now) end
end

local function open_queues()
    -- One EXISTS answers the usual case: nothing is suspended or paused.
    if redis.call('EXISTS', prefix .. ':suspended', 'tq:paused') == 0 then return { unpack(KEYS, 2) } end
    if redis.call('EXISTS', prefix .. ':suspended') == 1 then return nil end
    local open = {}
    for i = 2, #KEYS do
        if with_care().careful('SISMEMBER', 'tq:paused', KEYS[i]:sub(#prefix + 8)) == 0 then open[#open + 1] = KEYS[i] end
    end
    return open
end

local function begin(queue_key, job, fields, hash)
    local key = keys_of(job, claim)
    local origin = queue_key:sub(#prefix + 8) -- behind "rq:queue:"
    local begun, ends = precisely(0), precisely(lease)
    if hash.origin ~= origin then -- a program has moved it from queue to queue
        fields[#fields + 1] = 'origin'
        fields[#fields + 1] = origin
    end
    redis.call('HSET', key.job, 'status', 'started', 'started_at', rq_now, 'last_heartbeat', rq_now,
        'worker_name', worker, 'origin', origin,
        'tq:attempt', string.format('%d', (tonumber(hash['tq:attempt']) or 0) + 1))
    if hash['tq:called'] then -- RQ's own code has requeued it, so its next end needs a callback again
        redis.call('HDEL', key.job, 'tq:called')
        redis.call('ZADD', 'tq:callbacks:owed', time[1], job)
    end
    if hash['tq:limited'] then limits_of(hash['tq:limited'], prefix, now, rq_now).begin_run(key.member) end
    if hash['tq:progress'] or hash['tq:reason'] then redis.call('HDEL', key.job, 'tq:progress', 'tq:reason') end
    if hash.ttl or hash.ended_at then redis.call('PERSIST', key.job) end -- a job may expire only while it waits
    redis.call('ZADD', prefix .. ':wip:' .. origin, ends, key.member)
    redis.call('ZADD', key.executions, ends, claim)
    redis.call('SADD', worker_key .. ':executions', key.member)
    -- RQ sets a lifetime here. This hash is deleted with its execution, and the heartbeat sets a lifetime.
    redis.call('HSET', key.execution, 'id', claim, 'job_id', job, 'created_at', begun, 'last_heartbeat', begun,
        'worker_name', worker)
    redis.call('PUBLISH', 'tq:task:' .. job, 'started')
end

-- Returns whether a job that was popped has begun.
local function begin_or_drop(queue_key, job, fields, hash)
    if hash['tq:cancel'] or has_expired(hash) then
        drop(job, hash, queue_key:sub(#prefix + 8))
        return false
    end
    if hash['tq:limited'] and not done.admitted then
        if not limits_of(hash['tq:limited'], prefix, now, rq_now).admit(job) then return false end
        done.admitted = true
    end
    begin(queue_key, job, fields, hash)
    return true
end

local taken -- the queue, the id and the hash of the job that is being claimed

-- Takes back a half of this call, if Redis refuses the rest to everybody: a right was taken away, say. So the next
-- call can settle the outcome, and another one can claim the job.
function undo()
    local executions = worker_key .. ':executions'
    if taken then
        local queue_key, job, hash = unpack(taken)
        local key = keys_of(job, claim)
        if redis.pcall('SISMEMBER', executions, key.member) == 1 then return end -- it is claimed
        redis.pcall('ZREM', prefix .. ':wip:' .. queue_key:sub(#prefix + 8), key.member)
        redis.pcall('HSET', key.job, 'status', hash.status or 'queued', 'tq:attempt', hash['tq:attempt'] or '0')
        redis.pcall('LPUSH', queue_key, job)
    elseif done.owned and not done.result and not done.queue then
        local member = keys_of(ARGV[8], ARGV[9]).member
        redis.pcall('ZADD', prefix .. ':wip:' .. ARGV[10], precisely(lease), member)
        redis.pcall('SADD', executions, member)
    end
end

local MOST_POPPED = 100 -- in one call: while a queue holds something, its workers call again

local function take(queues)
    if #queues == 0 then return end
    local pop = { 'LMPOP', #queues, unpack(queues) }
    pop[#pop + 1] = 'LEFT'
    for _ = 1, MOST_POPPED do
        local popped = redis.pcall(unpack(pop))
        if popped and popped.err then
            if popped.err:sub(1, 9) ~= 'WRONGTYPE' then error(popped) end
            for _, key in ipairs(queues) do with_care().careful('LLEN', key) end
            popped = redis.call(unpack(pop))
        end
        if not popped then return end
        local queue_key, job = popped[1], popped[2][1]
        local fields = redis.pcall('HGETALL', prefix .. ':job:' .. job)
        if fields.err then
            set_aside(job, fields.err) -- the job's key holds another type of value
        elseif #fields == 0 then
            set_aside(job, 'the job hash is gone: it has expired, or was deleted')
        else
            local hash = {}
            for i = 1, #fields, 2 do hash[fields[i]] = fields[i + 1] end
            if not hash.data then
                set_aside(job, 'the job hash has no data')
            elseif NOT_TO_RUN[hash.status] then -- its id was pushed twice, or it was canceled since
            else
                taken = { queue_key, job, hash }
                local begun, fault = carefully(begin_or_drop, queue_key, job, fields, hash)
                if begun then return job, fields end
                if fault then -- it stays unrun, and the next job gets its turn
                    set_aside(job, fault)
                    done.admitted = nil
                end
            end
        end
    end
end

local settled = ''
if outcome ~= '' then
    local fault
    settled, fault = carefully(settle)
    if fault then -- the outcome cannot be stored, even after wrong types were moved aside
        local key = prefix .. ':job:' .. ARGV[8]
        set_aside(ARGV[8], fault)
        settled = 'yes'
        if redis.pcall('HGET', key, 'status') == 'started' then -- else only what follows it was refused
            settled = 'lost'
            redis.pcall('HSET', key, 'status', 'failed', 'ended_at', rq_now)
            redis.pcall('ZADD', prefix .. ':failed:' .. ARGV[10], '+inf', ARGV[8])
        end
    end
    if settled == 'dependents' then return { settled, 'skipped', '', {}, moved_aside } end
end
if claim == '' then return { settled, 'skipped', '', {}, moved_aside } end
local before = again == '1' and claimed_before()
if before then
    return { settled, 'claimed', before, redis.call('HGETALL', prefix .. ':job:' .. before), moved_aside }
end
local queues = open_queues()
if not queues then return { settled, 'suspended', '', {}, moved_aside } end
local job, fields = take(queues)
if not job then return { settled, 'empty', '', {}, moved_aside } end
return { settled, 'claimed', job, fields, moved_aside }

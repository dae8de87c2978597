-- One turn of a work-horse: settle the job that it ran, and claim the next, in a single round trip.
-- callback.lua and limits.lua stand before it.
--
-- All of it happens at once, or (where Redis refuses writes) none of it: there is no moment in which a job
-- stands in no list. Both halves may be sent again when the answer was lost; the second time changes nothing.
--
-- KEYS[1]   rq:worker:<name>             the worker's hash
-- KEYS[2…]  rq:queue:<name>              the queues to claim from, the most important first
--
-- ARGV[1]   prefix                       "rq", or RQ_KEY_PREFIX
-- ARGV[2]   worker                       its name
-- ARGV[3]   lease                        seconds until a job whose worker is silent is given to another
-- ARGV[4]   moment                       now, as RQ writes it: 2026-11-24T10:43:05.120000Z
-- ARGV[5]   claim                        the execution's id for the next job; '' claims nothing
-- ARGV[6]   again                        '1': this call is sent again, its answer was lost
-- ARGV[7]   outcome                      '' settles nothing; or finished, failed, stopped, retried, returned
-- and, with an outcome:
-- ARGV[8]   job                          the job's id
-- ARGV[9]   execution                    its execution's id, as it was claimed
-- ARGV[10]   origin                       the name of its queue
-- ARGV[11]  began                        seconds since 1970, as the execution was made
-- ARGV[12]  ended                        seconds since 1970
-- ARGV[13]  ttl                          seconds to keep the result or the failure; 0: nothing, -1: for ever
-- ARGV[14]  text                         finished: the result, base64 of JSON, or '' for None
--                                        failed, stopped, retried: the traceback, base64 of zlib
-- ARGV[15]  delay                        retried: seconds until the next attempt; 0: at once
-- ARGV[16]  retries_left                 retried: to be stored
-- ARGV[17]  deaths                       how many of its attempts ended their work-horse, this one included; '' none did
-- ARGV[18]  failure                      failed: why, for those who count failures (tasks/failure.py)
-- and, if the job has said something (worker/capture.py):
-- ARGV[19]  attempt                      which one it was
-- ARGV[20]  progress                     how far it is, as Field.PROGRESS has it; '': that is stored, or was not told
-- ARGV[21…] at, level, line; at, level, line …: what is not in its log yet
--
-- Returns {settled, claimed, fields}
--   settled  'yes'; 'lost': the job is not this execution's any more, its outcome is dropped;
--            'canceled': it was to be stopped, and has ended as that instead of the outcome;
--            'dependents': others wait for this job, so nothing was done: RQ's own code must settle it;
--            '' where there was nothing to settle
--   claimed  the job's id; '' where no job waits; 'suspended' while `rq suspend` holds
--   fields   the job's hash as HGETALL gives it, before the claim

local prefix, worker, lease, moment, claim, again, outcome = unpack(ARGV, 1, 7)
local worker_key = KEYS[1]
-- Redis's clock: those of the workers may differ. Texts, since a number costs Redis a microsecond to print each time.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function seconds_from_now(seconds) return string.format('%d', time[1] + seconds) end
local function precisely(seconds) return string.format('%d.%06d', time[1] + seconds, time[2]) end

local LOG_LINES = 1000 -- tasks/log_lines.py
local RESULT = { finished = 1, failed = 2, stopped = 2, retried = 4 } -- rq.results.Result.Type
local KEPT_RESULTS = 10                                               -- as RQ has it

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
    redis.call('XADD', key, 'MAXLEN', '~', KEPT_RESULTS, '*', unpack(fields))
    keep_for(key, ttl)
end

local function rest_in(registry, key, job, ttl)
    redis.call('ZADD', registry, ttl > 0 and seconds_from_now(ttl) or '+inf', job)
    keep_for(key, ttl)
end

local function stored_before(results)
    -- The answer to this very outcome may have been lost.
    local _, latest = unpack(redis.call('XREVRANGE', results, '+', '-', 'COUNT', 1)[1] or {})
    for i = 1, latest and #latest or 0, 2 do
        if latest[i] == 'execution_id' then return latest[i + 1] == ARGV[9] end
    end
end

local function keep_log(job, ttl)
    local key = 'tq:logs:' .. job
    for i = 21, #ARGV, 3 do
        redis.call('XADD', key, 'MAXLEN', '~', LOG_LINES, '*', 'attempt', ARGV[19],
            'at', ARGV[i], 'level', ARGV[i + 1], 'line', ARGV[i + 2])
    end
    if ttl == 0 then redis.call('DEL', key) else keep_for(key, ttl) end
end

local function cancel(key, job, origin, ttl)
    redis.call('HSET', key, 'status', 'canceled', 'ended_at', moment)
    redis.call('HDEL', key, 'tq:cancel')
    redis.call('ZADD', prefix .. ':canceled:' .. origin, time[1], job)
    if ttl > 0 then redis.call('EXPIRE', key, ttl) end
end

local TOLD_SECONDS = 90000 -- as long as its callback is tried: run/builtin/callback.py

local function settle()
    local job, execution, origin, ttl = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[13])
    local key = keys_of(job, execution)
    local status, to_be_stopped, limited, callback_url = unpack(redis.call('HMGET', key.job, 'status', 'tq:cancel',
        'tq:limited', 'tq:callback_url'))
    if callback_url and ttl >= 0 and ttl < TOLD_SECONDS then -- it must be there to be told of
        ttl, ARGV[13] = TOLD_SECONDS, string.format('%d', TOLD_SECONDS)
    end
    if to_be_stopped and outcome ~= 'finished' then outcome = 'canceled' end
    local final = outcome == 'finished' or outcome == 'failed' or outcome == 'stopped'
    if final and redis.call('EXISTS', key.job .. ':dependents') == 1 then return 'dependents' end

    -- Whose job it is, is decided here and nowhere else: by the entry in the started registry.
    if redis.call('ZREM', prefix .. ':wip:' .. origin, key.member) == 0 then
        redis.call('SREM', worker_key .. ':executions', key.member)
        return again == '1' and stored_before(key.results) and 'yes' or 'lost'
    end
    redis.call('DEL', key.execution, key.executions) -- a job has one execution at a time
    redis.call('SREM', worker_key .. ':executions', key.member)
    local limits = limited and limits_of(limited, prefix, now, moment)
    if limits then limits.ends(key.member) end
    -- Somebody cancelled or deleted it while it ran: that stays so. Any other status may have been written by
    -- somebody's job.save() of an object that he had read before.
    if not status or status == 'canceled' then return 'lost' end

    local ended = { 'ended_at', moment, 'last_heartbeat', moment }
    if ARGV[17] ~= '' then redis.call('HSET', key.job, 'tq:deaths', ARGV[17]) end
    if (ARGV[20] or '') ~= '' then redis.call('HSET', key.job, 'tq:progress', ARGV[20]) end
    if outcome == 'finished' then
        if ttl == 0 then
            redis.call('DEL', key.job, key.results)
        else
            redis.call('HSET', key.job, 'status', 'finished', unpack(ended))
            keep_result(key.results, ttl)
            rest_in(prefix .. ':finished:' .. origin, key.job, job, ttl)
        end
    elseif outcome == 'failed' or outcome == 'stopped' then
        redis.call('HSET', key.job, 'status', outcome, 'tq:failure', ARGV[18], unpack(ended))
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
            redis.call('HSET', key.job, 'status', 'queued', 'enqueued_at', moment)
            redis.call(front and 'LPUSH' or 'RPUSH', prefix .. ':queue:' .. origin, job)
        end
    else -- returned: it did not run to its end, and that was not its fault
        redis.call('HSET', key.job, 'status', 'queued')
        redis.call('HINCRBY', key.job, 'tq:attempt', -1)
        redis.call('LPUSH', prefix .. ':queue:' .. origin, job)
        if limits then limits.keeps_place(job) end
    end
    if limits then limits.release() end
    if callback_url and (final or outcome == 'canceled') then call_back(job, prefix, moment) end
    if ARGV[19] then keep_log(job, ttl) end
    redis.call('PUBLISH', 'tq:task:' .. job, outcome) -- tasks/changes.py
    return outcome == 'canceled' and outcome or 'yes'
end

local function claimed_before()
    -- The answer to this very claim may have been lost. A worker has a handful of executions at most.
    for _, member in ipairs(redis.call('SMEMBERS', worker_key .. ':executions')) do
        local job, execution = member:match('^(.*):(.*)$')
        if execution == claim then return job end
    end
end

local KEPT_ASIDE = 1000

local function set_aside(job, why)
    if redis.call('HLEN', 'tq:aside') < KEPT_ASIDE then redis.call('HSET', 'tq:aside', job, why) end
end

local ENDED = { started = true, finished = true, canceled = true, stopped = true }

local function has_expired(hash)
    local expires_at = tonumber(hash['tq:expires_at'])
    return expires_at and (hash['tq:attempt'] or '0') == '0' and expires_at <= tonumber(precisely(0))
end

local function drop(job, hash, origin)
    local key = prefix .. ':job:' .. job
    if not hash['tq:cancel'] then redis.call('HSET', key, 'tq:expired', '1') end
    cancel(key, job, origin, tonumber(hash.failure_ttl) or 86400)
    redis.call('PUBLISH', 'tq:task:' .. job, 'canceled')
    if hash['tq:callback'] then call_back(job, prefix, moment) end
end

local function open_queues()
    -- Nearly always nothing is suspended nor paused, and that is one question.
    if redis.call('EXISTS', prefix .. ':suspended', 'tq:paused') == 0 then return { unpack(KEYS, 2) } end
    if redis.call('EXISTS', prefix .. ':suspended') == 1 then return 'suspended' end
    local open = {}
    for i = 2, #KEYS do
        if redis.call('SISMEMBER', 'tq:paused', KEYS[i]:sub(#prefix + 8)) == 0 then open[#open + 1] = KEYS[i] end
    end
    return open
end

local MOST_POPPED = 100 -- in one turn: who waits for a queue is called again while it holds something

local function take(queues)
    if #queues == 0 then return end
    local pop = { 'LMPOP', #queues, unpack(queues) }
    pop[#pop + 1] = 'LEFT'
    for _ = 1, MOST_POPPED do
        local popped = redis.call(unpack(pop))
        if not popped then return end
        local queue_key, job = popped[1], popped[2][1]
        local fields = redis.pcall('HGETALL', prefix .. ':job:' .. job)
        if fields.err then
            set_aside(job, fields.err) -- something else stands at the job's key
        elseif #fields == 0 then
            set_aside(job, 'the job hash is gone: it has expired, or was deleted')
        else
            local hash = {}
            for i = 1, #fields, 2 do hash[fields[i]] = fields[i + 1] end
            if not hash.data then
                set_aside(job, 'the job hash has no data')
            elseif ENDED[hash.status] then -- an id that was pushed twice, or cancelled since, is not run
            elseif hash['tq:cancel'] or has_expired(hash) then
                drop(job, hash, queue_key:sub(#prefix + 8))
            elseif not hash['tq:limited'] or limits_of(hash['tq:limited'], prefix, now, moment).admit(job) then
                return queue_key, job, fields, hash
            end
        end
    end
end

local function begin(queue_key, job, fields, hash)
    local key = keys_of(job, claim)
    local origin = queue_key:sub(#prefix + 8) -- behind "rq:queue:"
    local begun, ends = precisely(0), precisely(lease)
    if hash.origin ~= origin then -- somebody has moved it from queue to queue
        fields[#fields + 1] = 'origin'
        fields[#fields + 1] = origin
    end
    redis.call('HSET', key.job, 'status', 'started', 'started_at', moment, 'last_heartbeat', moment,
        'worker_name', worker, 'origin', origin, 'tq:attempt', string.format('%d', (tonumber(hash['tq:attempt']) or 0) + 1))
    if hash['tq:called'] then -- RQ's own code has sent it again
        redis.call('HDEL', key.job, 'tq:called')
        redis.call('ZADD', 'tq:callbacks:owed', time[1], job)
    end
    if hash['tq:limited'] then limits_of(hash['tq:limited'], prefix, now, moment).begins(key.member) end
    if hash['tq:progress'] then redis.call('HDEL', key.job, 'tq:progress') end
    if hash.ttl or hash.ended_at then redis.call('PERSIST', key.job) end -- it may expire while it waits
    redis.call('ZADD', prefix .. ':wip:' .. origin, ends, key.member)
    redis.call('ZADD', key.executions, ends, claim)
    redis.call('SADD', worker_key .. ':executions', key.member)
    -- RQ gives this hash a lifetime; ours is deleted with the execution, and the heartbeat gives it one.
    redis.call('HSET', key.execution, 'id', claim, 'job_id', job, 'created_at', begun, 'last_heartbeat', begun,
        'worker_name', worker)
    redis.call('PUBLISH', 'tq:task:' .. job, 'started')
end

local settled = ''
if outcome ~= '' then
    settled = settle()
    if settled == 'dependents' then return { settled, '', {} } end
end
if claim == '' then return { settled, '', {} } end
local before = again == '1' and claimed_before()
if before then return { settled, before, redis.call('HGETALL', prefix .. ':job:' .. before) } end
local queues = open_queues()
if queues == 'suspended' then return { settled, 'suspended', {} } end
local queue_key, job, fields, hash = take(queues)
if not job then return { settled, '', {} } end
begin(queue_key, job, fields, hash)
return { settled, job, fields }

-- Settles jobs that have run. Loaded behind turn.lua; settle_and_claim.lua calls settle_all().
local LOG_LINES = 1000 -- tasks/log_lines.py
local RESULT = { finished = 1, failed = 2, stopped = 2, retried = 4, postponed = 4 } -- rq.results.Result.Type
local KEPT_RESULTS = 10 -- as RQ has it
local CALLBACK_SECONDS = 90000 -- for so long its callback is tried: run/builtin/callback.py

-- An outcome is the place among the arguments where it begins: ARGV[at] is the number of its fields, ARGV[at + 1] the
-- first of them, in the order that settle_and_claim.lua describes.
local steps = {} -- by outcome: the steps that must not be repeated, if settle() is called a second time

local function once(at, step, ...)
    steps[at] = steps[at] or {}
    if not steps[at][step] then redis.call(...) end
    steps[at][step] = true
end

local function keep_for(key, ttl)
    if tonumber(ttl) > 0 then redis.call('EXPIRE', key, ttl) else redis.call('PERSIST', key) end
end

local function keep_result(at, key, ttl)
    local how, job, execution, _, began, ended, _, text = unpack(ARGV, at + 1, at + 8)
    local fields = {
        'type', RESULT[how], 'worker_name', worker, 'execution_id', execution,
        'execution_started_at', began, 'execution_ended_at', ended,
    }
    if how ~= 'finished' then -- of a run that finished, the job's hash has them
        local attempt, ran, by_worker = unpack(redis.call('HMGET', prefix .. ':job:' .. job,
            'tq:attempt', 'tq:release', 'worker_name'))
        fields[4] = by_worker or worker -- else that which has found the job lost
        fields[#fields + 1], fields[#fields + 2] = 'tq:attempt', attempt or ''
        if ran and ran ~= '' then fields[#fields + 1], fields[#fields + 2] = 'tq:release', ran end
    end
    if text ~= '' then
        fields[#fields + 1] = how == 'finished' and 'return_value' or 'exc_string'
        fields[#fields + 1] = text
    end
    once(at, 'result', 'XADD', key, 'MAXLEN', '~', KEPT_RESULTS, '*', unpack(fields))
    keep_for(key, ttl)
end

local function rest_in(registry, key, job, ttl)
    redis.call('ZADD', registry, tonumber(ttl) > 0 and seconds_from_now(ttl) or '+inf', job)
    keep_for(key, ttl)
end

local function stored_before(results, execution)
    -- Whether this outcome is stored already: the answer to an earlier call may have been lost.
    local _, latest = unpack(redis.call('XREVRANGE', results, '+', '-', 'COUNT', 1)[1] or {})
    for i = 1, latest and #latest or 0, 2 do
        if latest[i] == 'execution_id' then return latest[i + 1] == execution end
    end
end

local function keep_log(at, job, ttl)
    local key, attempt = 'tq:logs:' .. job, ARGV[at + 15]
    for i = at + 17, at + ARGV[at], 3 do
        redis.call('XADD', key, 'MAXLEN', '~', LOG_LINES, '*', 'attempt', attempt,
            'at', ARGV[i], 'level', ARGV[i + 1], 'line', ARGV[i + 2])
    end
    if ttl == '0' then redis.call('DEL', key) else keep_for(key, ttl) end
end

local function settle(at)
    local how, job, execution, origin, _, _, ttl = unpack(ARGV, at + 1, at + 7)
    local has_output = tonumber(ARGV[at]) > 14
    local key = keys_of(job, execution)
    local status, must_cancel, limited, callback_url = unpack(redis.call('HMGET', key.job, 'status', 'tq:cancel',
        'tq:limited', 'tq:callback_url'))
    if callback_url and tonumber(ttl) >= 0 and tonumber(ttl) < CALLBACK_SECONDS then
        ttl = string.format('%d', CALLBACK_SECONDS) -- the callback sends the task as it is then
    end
    if must_cancel and how ~= 'finished' then how = 'canceled' end
    local final = how == 'finished' or how == 'failed' or how == 'stopped'
    local is_over = not status or status == 'canceled' -- while it ran
    if final and not is_over and redis.call('EXISTS', key.job .. ':dependents') == 1 then return 'dependents' end

    -- The entry in the started registry, and nothing else, decides which execution has the job.
    steps[at] = steps[at] or {}
    steps[at].owned = steps[at].owned or redis.call('ZREM', prefix .. ':wip:' .. origin, key.member) == 1
    if not steps[at].owned then
        redis.call('SREM', executions_key, key.member)
        return again == '1' and stored_before(key.results, execution) and 'yes' or 'lost'
    end
    redis.call('DEL', key.execution, key.executions) -- a job has one execution at a time
    redis.call('SREM', executions_key, key.member)
    local limits = limited and limits_of(limited, prefix, now, rq_now)
    if limits then limits.end_run(key.member) end
    -- A job that was canceled or deleted while it ran stays so. Any other status counts for nothing: a program may
    -- have called job.save() on an object that it had read before.
    if is_over then return 'lost' end

    local ended = { 'ended_at', rq_now, 'last_heartbeat', rq_now }
    if ARGV[at + 11] ~= '' then redis.call('HSET', key.job, 'tq:deaths', ARGV[at + 11]) end
    if has_output and ARGV[at + 16] ~= '' then redis.call('HSET', key.job, 'tq:progress', ARGV[at + 16]) end
    if how == 'finished' then
        if ttl == '0' then
            redis.call('DEL', key.job, key.results)
        else
            redis.call('HSET', key.job, 'status', 'finished', unpack(ended))
            keep_result(at, key.results, ttl)
            rest_in(prefix .. ':finished:' .. origin, key.job, job, ttl)
        end
    elseif how == 'failed' or how == 'stopped' then
        redis.call('HSET', key.job, 'status', how, 'tq:failure', ARGV[at + 12], 'tq:reason', ARGV[at + 13],
            unpack(ended))
        keep_result(at, key.results, ttl)
        rest_in(prefix .. ':failed:' .. origin, key.job, job, ttl)
    elseif how == 'canceled' then
        cancel(key.job, job, origin, tonumber(ttl))
    elseif how == 'retried' then
        local delay = tonumber(ARGV[at + 9])
        keep_result(at, key.results, ttl)
        redis.call('HSET', key.job, 'retries_left', ARGV[at + 10], unpack(ended))
        if delay > 0 then
            redis.call('HSET', key.job, 'status', 'scheduled')
            redis.call('ZADD', prefix .. ':scheduled:' .. origin, seconds_from_now(delay), job)
        else
            local front = redis.call('HGET', key.job, 'enqueue_at_front_on_retry') == '1'
            redis.call('HSET', key.job, 'status', 'queued', 'enqueued_at', rq_now)
            once(at, 'queue', front and 'LPUSH' or 'RPUSH', prefix .. ':queue:' .. origin, job)
        end
    elseif how == 'postponed' then
        if ARGV[at + 12] ~= '' then -- it was not its turn: tasks/put_off.py
            redis.call('HSET', key.job, 'tq:put_off', ARGV[at + 12])
        elseif redis.call('HSETNX', key.job, 'tq:unknown_since', time[1]) == 1 then
            keep_result(at, key.results, ttl) -- this worker does not know its type or a field: worker/decision.py
        end
        redis.call('HSET', key.job, 'status', 'scheduled')
        once(at, 'attempt', 'HINCRBY', key.job, 'tq:attempt', -1)
        redis.call('ZADD', prefix .. ':scheduled:' .. origin, seconds_from_now(tonumber(ARGV[at + 9])), job)
    else -- returned: it did not run to its end through no fault of its own, so the attempt does not count
        redis.call('HSET', key.job, 'status', 'queued')
        if ARGV[at + 14] == '1' then redis.call('HSET', key.job, 'tq:alone', '1') end
        once(at, 'attempt', 'HINCRBY', key.job, 'tq:attempt', -1)
        once(at, 'queue', 'LPUSH', prefix .. ':queue:' .. origin, job)
        if limits then limits.keep_place(job) end
    end
    if limits then limits.release() end
    if callback_url and (final or how == 'canceled') then call_back(job, prefix, rq_now) end
    if has_output then keep_log(at, job, ttl) end
    redis.call('PUBLISH', 'tq:task:' .. job, how) -- tasks/changes.py
    return how == 'canceled' and how or 'yes'
end

local settle_finished
local settled = {} -- the answer: what became of each outcome, in their order
local settled_at = {} -- the same by outcome

if ARGV[FIRST_OUTCOME] and ARGV[FIRST_OUTCOME + ARGV[FIRST_OUTCOME] + 1] then -- there are two outcomes or more
    -- Settles several jobs of one queue that have finished and need nothing else: by one command for all of them, where
    -- Redis takes many. Leaves the others to settle().
    function settle_finished()
        local origin, plain, members = ARGV[FIRST_OUTCOME + 4], {}, {}
        local at = FIRST_OUTCOME
        while ARGV[at] do
            local job, execution = ARGV[at + 2], ARGV[at + 3]
            if ARGV[at] == '14' and ARGV[at + 1] == 'finished' and ARGV[at + 4] == origin and tonumber(ARGV[at + 7]) > 0 then
                local status, must_cancel, limited, callback_url = unpack(redis.call('HMGET', prefix .. ':job:' .. job,
                    'status', 'tq:cancel', 'tq:limited', 'tq:callback_url'))
                if status == 'started' and not (must_cancel or limited or callback_url) then
                    plain[#plain + 1], members[#members + 1] = at, job .. ':' .. execution
                end
            end
            at = at + ARGV[at] + 1
        end
        if #plain < 2 then return end

        local wip, jobs, dependents, executions, finished = prefix .. ':wip:' .. origin, {}, {}, {}, {}
        for i, outcome in ipairs(plain) do
            local job = ARGV[outcome + 2]
            jobs[i] = prefix .. ':job:' .. job
            dependents[i] = jobs[i] .. ':dependents'
            executions[2 * i - 1], executions[2 * i] = prefix .. ':execution:' .. members[i], prefix .. ':executions:' .. job
            finished[2 * i - 1], finished[2 * i] = seconds_from_now(ARGV[outcome + 7]), job
        end
        if redis.call('EXISTS', unpack(dependents)) > 0 then return end
        for _, score in ipairs(redis.call('ZMSCORE', wip, unpack(members))) do
            if not score then return end -- another execution has the job
        end
        redis.call('ZREM', wip, unpack(members))
        for _, outcome in ipairs(plain) do steps[outcome] = { owned = true } end
        redis.call('SREM', executions_key, unpack(members))
        redis.call('DEL', unpack(executions))
        for i, outcome in ipairs(plain) do
            local job, ttl = ARGV[outcome + 2], ARGV[outcome + 7]
            redis.call('HSET', jobs[i], 'status', 'finished', 'ended_at', rq_now, 'last_heartbeat', rq_now)
            keep_result(outcome, prefix .. ':results:' .. job, ttl)
            redis.call('EXPIRE', jobs[i], ttl)
            redis.call('PUBLISH', 'tq:task:' .. job, 'finished')
        end
        redis.call('ZADD', prefix .. ':finished:' .. origin, unpack(finished))
        for _, outcome in ipairs(plain) do settled_at[outcome] = 'yes' end
    end
end

-- Settles all outcomes. Returns whether RQ's own code must settle one of them.
local function settle_all()
    local at, has_dependents = FIRST_OUTCOME, false
    -- If one job's data stop it halfway, settle() does the rest of each: `steps` has what must not be repeated.
    if settle_finished then pcall(settle_finished) end
    while ARGV[at] do
        local answer, fault = settled_at[at]
        if not answer then answer, fault = carefully(settle, at) end
        if fault then -- the outcome cannot be stored, even after wrong types were moved aside
            local job, key = ARGV[at + 2], prefix .. ':job:' .. ARGV[at + 2]
            set_aside(job, fault)
            answer = 'yes'
            if redis.pcall('HGET', key, 'status') == 'started' then -- else only what follows it was refused
                answer = 'lost'
                redis.pcall('HSET', key, 'status', 'failed', 'ended_at', rq_now)
                redis.pcall('ZADD', prefix .. ':failed:' .. ARGV[at + 4], '+inf', job)
            end
        end
        settled[#settled + 1], settled_at[at] = answer, answer
        has_dependents = has_dependents or answer == 'dependents'
        at = at + ARGV[at] + 1
    end
    return has_dependents
end


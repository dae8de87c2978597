-- Claims jobs: takes them off their queues and writes them into RQ's started registry, in one step.
-- Loaded behind turn.lua, before claim_group.lua; settle_and_claim.lua calls claim_jobs().
local MOST_POPPED = 100 -- that do not begin, in one call: while a queue holds something, its workers call again
local NOT_TO_RUN = { started = true, finished = true, canceled = true, stopped = true }

local claim_group, claim_behind -- made only for calls that use them: a closure takes time, too
local taken = {} -- what is being claimed: queue, job, hash, execution; queue, job, hash, execution …
local admitted -- a limit has given the job that is being claimed a place
local is_late = false -- the network has delivered this call again, so long after that its claim was lost meanwhile
local claimed = {} -- the answer: job, execution, fields; job, execution, fields …

local function hash_of(fields)
    local hash = {}
    for i = 1, #fields, 2 do hash[fields[i]] = fields[i + 1] end
    return hash
end

-- Returns whether this process may claim the job.
local function is_of_our_kind(description, alone)
    if kind == 'any' then return true end
    local is_io = not alone and io_types:find(',' .. type_of(description or '') .. ',', 1, true) ~= nil
    return is_io == (kind == 'io')
end

local function has_expired(hash)
    local expires_at = tonumber(hash['tq:expires_at'])
    return expires_at and (hash['tq:attempt'] or '0') == '0' and expires_at <= tonumber(precisely(0))
end

local special -- job types that are paused, or whose limits were changed; nil: there are none

-- Returns the name of the job type whose limits hold for a job; nil: none do.
local function limited_by(hash)
    if hash['tq:limited'] then return hash['tq:limited'] end
    local job_type = special and type_of(hash.description or '')
    return job_type and special[job_type] and job_type
end

local function drop(job, hash, origin)
    local key = prefix .. ':job:' .. job
    if not hash['tq:cancel'] then redis.call('HSET', key, 'tq:expired', '1') end
    cancel(key, job, origin, tonumber(hash.failure_ttl) or 86400)
    if hash['tq:limited'] then limits_of(hash['tq:limited'], prefix, now, rq_now).drop(job) end
    redis.call('PUBLISH', 'tq:task:' .. job, 'canceled')
    if hash['tq:callback'] then call_back(job, prefix, rq_now) end
end

local function open_queues()
    -- One EXISTS answers the usual case: nothing is suspended or paused.
    if redis.call('EXISTS', prefix .. ':suspended', 'tq:paused') == 0 then return { unpack(KEYS, 2) } end
    if redis.call('EXISTS', prefix .. ':suspended') == 1 then return nil end
    local paused, open = {}, {}
    for _, name in ipairs(with_care().careful('SMEMBERS', 'tq:paused')) do
        paused[name] = true
        local job_type = name:match('^%l+:(.*)$') -- "type:<type>" or "limits:<type>": set_limits.lua
        if job_type then
            special = special or {}
            special[job_type] = true
        end
    end
    for i = 2, #KEYS do
        if not paused[KEYS[i]:sub(#prefix + 8)] then open[#open + 1] = KEYS[i] end
    end
    return open
end

local function next_attempt(hash) return string.format('%d', (tonumber(hash['tq:attempt']) or 0) + 1) end

-- Returns the field for the release that runs a job, if there is one, or if there was another.
local function release_of(hash)
    if release ~= '' or hash['tq:release'] then return 'tq:release', release end
end

local function begin(queue_key, job, fields, hash, execution)
    local key, member = prefix .. ':job:' .. job, job .. ':' .. execution
    local origin = queue_key:sub(#prefix + 8) -- behind "rq:queue:"
    if hash.origin ~= origin then -- a program has moved it from queue to queue
        fields[#fields + 1] = 'origin'
        fields[#fields + 1] = origin
    end
    redis.call('HSET', key, 'status', 'started', 'started_at', rq_now, 'last_heartbeat', rq_now,
        'worker_name', worker, 'origin', origin, 'tq:attempt', next_attempt(hash), release_of(hash))
    if hash['tq:called'] then -- RQ's own code has requeued it, so its next end needs a callback again
        redis.call('HDEL', key, 'tq:called')
        redis.call('ZADD', 'tq:callbacks:owed', time[1], job)
    end
    local limited = limited_by(hash)
    if limited then
        limits_of(limited, prefix, now, rq_now).begin_run(member)
        if not hash['tq:limited'] then redis.call('HSET', key, 'tq:limited', limited) end -- its end frees the place
    end
    if hash['tq:progress'] or hash['tq:reason'] then redis.call('HDEL', key, 'tq:progress', 'tq:reason') end
    if hash.ttl or hash.ended_at then redis.call('PERSIST', key) end -- a job may expire only while it waits
    redis.call('ZADD', prefix .. ':wip:' .. origin, precisely(lease), member)
    redis.call('SADD', executions_key, member)
    -- RQ's record of the run is written by the first heartbeat, if the run is still going on: heartbeat.lua.
    redis.call('PUBLISH', 'tq:task:' .. job, 'started')
end

-- Returns whether a job that was popped has begun.
local function begin_or_drop(queue_key, job, fields, hash, execution)
    -- A second run under the execution of an earlier one, whose worker may live: it would settle both as its own.
    if (hash['tq:attempt'] or '0') ~= '0' and stored_before(prefix .. ':results:' .. job, execution) then
        redis.call('LPUSH', queue_key, job)
        is_late = true
        return false
    end
    if hash['tq:cancel'] or has_expired(hash) then
        drop(job, hash, queue_key:sub(#prefix + 8))
        return false
    end
    local limited = limited_by(hash)
    if limited and not admitted then
        if not limits_of(limited, prefix, now, rq_now).admit(job) then return false end
        admitted = true
    end
    begin(queue_key, job, fields, hash, execution)
    return true
end

-- Claims a job that was taken off its queue, unless it must not run. Returns false if it is of the other kind.
local function claim_job(queue_key, job)
    local fields = redis.pcall('HGETALL', prefix .. ':job:' .. job)
    if fields.err then
        set_aside(job, fields.err) -- the job's key holds another type of value
        return true
    elseif #fields == 0 then
        set_aside(job, 'the job hash is gone: it has expired, or was deleted')
        return true
    end
    local hash = hash_of(fields)
    if not is_of_our_kind(hash.description, hash['tq:alone']) then return false end
    if not hash.data then
        set_aside(job, 'the job hash has no data')
    elseif NOT_TO_RUN[hash.status] then -- its id was pushed twice, or it was canceled since
        return true
    elseif short == '' or not claim_group(queue_key, job, fields, hash) then
        local execution = claim
        if short == '' and most ~= '1' then execution = claim .. '-' .. #claimed / 3 + 1 end
        taken = { queue_key, job, hash, execution }
        local begun, fault = carefully(begin_or_drop, queue_key, job, fields, hash, execution)
        if begun then
            claimed[#claimed + 1] = job
            claimed[#claimed + 1] = execution
            claimed[#claimed + 1] = fields
        elseif fault then -- it stays unrun, and the next job gets its turn
            set_aside(job, fault)
        end
        taken, admitted = {}, nil
    end
    return true
end

if kind ~= 'any' then
    -- Takes the first jobs of our kind from behind jobs of the other kind; `count` jobs in all, the group as one.
    function claim_behind(queues, count)
        for _, queue_key in ipairs(queues) do
            for _, job in ipairs(redis.call('LRANGE', queue_key, 0, tonumber(look) - 1)) do
                local values = redis.pcall('HMGET', prefix .. ':job:' .. job, 'description', 'tq:alone')
                if values.err or is_of_our_kind(values[1], values[2]) then
                    redis.call('LREM', queue_key, 1, job)
                    claim_job(queue_key, job)
                    if is_late or #claimed >= 3 * count then return end
                end
            end
        end
    end
end

-- Claims as many jobs as were asked for, or as wait. Returns whether jobs of the other kind wait.
local function claim_jobs(queues)
    if #queues == 0 then return false end
    local pop = { 'LMPOP', #queues, unpack(queues) }
    pop[#pop + 1] = 'LEFT'
    local count = short == '' and tonumber(most) or 1
    for _ = 1, MOST_POPPED + count do
        local popped = redis.pcall(unpack(pop))
        if popped and popped.err then
            if popped.err:sub(1, 9) ~= 'WRONGTYPE' then error(popped) end
            for _, key in ipairs(queues) do with_care().careful('LLEN', key) end
            popped = redis.call(unpack(pop))
        end
        if not popped then return false end
        if not claim_job(popped[1], popped[2][1]) then
            redis.call('LPUSH', popped[1], popped[2][1])
            claim_behind(queues, count)
            return true
        end
        if is_late or #claimed >= 3 * count then return false end
    end
    return false
end


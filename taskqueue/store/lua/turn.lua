-- What the parts of settle_and_claim.lua share: its arguments, the time, the keys of a job.
-- Loaded behind wrong_types.lua, callback.lua and limits.lua, and before settle.lua, claim.lua, claim_group.lua and
-- settle_and_claim.lua.
local prefix, worker, lease, kind, io_types, release, look, rq_now, claim, most, short, again = unpack(ARGV, 1, 12)
local FIRST_OUTCOME = 13
local worker_key = KEYS[1]
local executions_key = worker_key .. ':executions'
-- Redis's clock: those of the workers may differ. Times are sent as text, because it costs Redis a microsecond to
-- print a number.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function seconds_from_now(seconds) return string.format('%d', time[1] + seconds) end
local function precisely(seconds) return string.format('%d.%06d', time[1] + seconds, time[2]) end

local function keys_of(job, execution)
    return {
        job = prefix .. ':job:' .. job,
        results = prefix .. ':results:' .. job,
        executions = prefix .. ':executions:' .. job,
        execution = prefix .. ':execution:' .. job .. ':' .. execution,
        member = job .. ':' .. execution,
    }
end

local MAX_SET_ASIDE = 1000

local function set_aside(job, why)
    local count = redis.pcall('HLEN', 'tq:aside')
    if type(count) == 'number' and count < MAX_SET_ASIDE then redis.pcall('HSET', 'tq:aside', job, why) end
end

local function cancel(key, job, origin, ttl)
    redis.call('HSET', key, 'status', 'canceled', 'ended_at', rq_now)
    redis.call('HDEL', key, 'tq:cancel', 'tq:called') -- called: for an earlier end, if RQ's code has requeued it
    redis.call('ZADD', prefix .. ':canceled:' .. origin, time[1], job)
    if ttl > 0 then redis.call('EXPIRE', key, ttl) end
end


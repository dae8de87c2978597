-- Moves the due jobs of one queue from the scheduled registry to the queue: each once.
--
-- KEYS[1]  rq:scheduled:<queue>
-- KEYS[2]  rq:queue:<queue>
-- KEYS[3]  rq:queues
-- ARGV[1]  prefix    "rq", or RQ_KEY_PREFIX
-- ARGV[2]  rq_now    now, as RQ writes it
-- ARGV[3]  most      how many, at most
--
-- Returns how many it moved. A job with one of RQ's own rate limits is left to RQ's own code.
local prefix, rq_now, most = unpack(ARGV)
-- A job that Redis took for a work-horse, and then was stopped before it could run the claim: worker/armed_claim.py.
local bell = 'tq:bell:' .. KEYS[2]:sub(#prefix + 8)
for _ = 1, redis.call('LLEN', bell) do redis.call('LMOVE', bell, KEYS[2], 'RIGHT', 'LEFT') end
local now = tonumber(redis.call('TIME')[1])
local moved = 0
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, most)) do
    local key = prefix .. ':job:' .. job
    local fields = redis.pcall('HMGET', key, 'data', 'rate_limit_key', 'enqueue_at_front',
        'enqueue_at_front_on_retry', 'ended_at')
    if fields.err or not fields[1] then
        redis.call('ZREM', KEYS[1], job) -- it has expired, or was deleted
    elseif not fields[2] or fields[2] == '' then
        redis.call('ZREM', KEYS[1], job)
        redis.call('HSET', key, 'status', 'queued', 'enqueued_at', rq_now)
        redis.call('SADD', KEYS[3], KEYS[2])
        local front = fields[3] == '1' or (fields[4] == '1' and fields[5] and fields[5] ~= '')
        redis.call(front and 'LPUSH' or 'RPUSH', KEYS[2], job)
        redis.call('PUBLISH', 'tq:task:' .. job, 'queued') -- tasks/changes.py
        moved = moved + 1
    end
end
return moved

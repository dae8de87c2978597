-- Ends a batch whose tasks have all ended, and releases the task that waits for that: once.
--
-- The script looks at one task after another, and stops at the first that has not ended: the next call begins
-- there. So in all, a batch costs one look at each of its tasks, however they end.
--
-- KEYS[1]  tq:batch:<id>        the batch's hash
-- KEYS[2]  tq:batch:<id>:tasks  the list of its tasks
-- KEYS[3]  tq:batches           the ids of batches that have not ended
-- KEYS[4]  rq:queues
-- ARGV[1]  prefix    "rq", or RQ_KEY_PREFIX
-- ARGV[2]  id        of the batch
-- ARGV[3]  most      how many tasks to look at, at most
-- ARGV[4]  ttl       seconds to keep the batch after its end
-- ARGV[5]  rq_now    now, as RQ writes it
--
-- Returns 1 if the batch ended now, else 0.
local prefix, batch, most, ttl, rq_now = unpack(ARGV)
local ENDED = { finished = true, failed = true, stopped = true, canceled = true }
local before = tonumber(redis.call('HGET', KEYS[1], 'looked') or 0)
local looked, count = before, redis.call('LLEN', KEYS[2])

local function goes_on(id)
    local status = redis.call('HGET', prefix .. ':job:' .. id, 'status')
    return status and not ENDED[status]
end

local function look()
    local last = math.min(count, before + most)
    while looked < last do -- a few at a time: mostly the first one has not ended
        for _, id in ipairs(redis.call('LRANGE', KEYS[2], looked, math.min(looked + 100, last) - 1)) do
            if goes_on(id) then return end
            looked = looked + 1
        end
    end
end

look()
if looked < count then
    if looked > before then redis.call('HSET', KEYS[1], 'looked', looked) end
    return 0
end
local task = redis.call('HGET', KEYS[1], 'on_complete')
local key = prefix .. ':job:' .. (task or '')
local waits = task and redis.call('HMGET', key, 'status', 'origin', 'enqueue_at_front')
if waits and waits[1] == 'deferred' then
    local queue = prefix .. ':queue:' .. waits[2]
    redis.call('ZREM', prefix .. ':deferred:' .. waits[2], task)
    redis.call('HSET', key, 'status', 'queued', 'enqueued_at', rq_now)
    redis.call('SADD', KEYS[4], queue)
    redis.call(waits[3] == '1' and 'LPUSH' or 'RPUSH', queue, task)
    redis.call('PUBLISH', 'tq:task:' .. task, 'queued') -- tasks/changes.py
end
redis.call('ZREM', KEYS[3], batch)
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'ended_at', rq_now, 'looked', looked) end
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return 1

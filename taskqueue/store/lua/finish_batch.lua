-- Ends a batch whose tasks have all ended, and releases the task that waits for that: once.
--
-- It looks at one task after the other, and stops at the first that has not ended: that one is looked at again
-- the next time. So a batch costs one look at each of its tasks in all, whatever ends them.
--
-- KEYS[1]  tq:batch:<id>        the batch's hash
-- KEYS[2]  tq:batch:<id>:tasks  the list of its tasks
-- KEYS[3]  tq:batches           the ids of batches that have not ended
-- KEYS[4]  rq:queues
-- ARGV[1]  prefix    "rq", or RQ_KEY_PREFIX
-- ARGV[2]  id        of the batch
-- ARGV[3]  most      how many tasks to look at
-- ARGV[4]  ttl       seconds to keep it when it has ended
-- ARGV[5]  moment    now, as RQ writes it
--
-- Returns 1 where it ended now.
local prefix, batch, most, ttl, moment = unpack(ARGV)
local ENDED = { finished = true, failed = true, stopped = true, canceled = true }
local before = tonumber(redis.call('HGET', KEYS[1], 'looked') or 0)
local looked, count = before, redis.call('LLEN', KEYS[2])

local function goes_on(id)
    local status = redis.call('HGET', prefix .. ':job:' .. id, 'status')
    return status and not ENDED[status]
end

local function look()
    local last = math.min(count, before + most)
    while looked < last do -- a few at a time: mostly the first of them goes on
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
    redis.call('HSET', key, 'status', 'queued', 'enqueued_at', moment)
    redis.call('SADD', KEYS[4], queue)
    redis.call(waits[3] == '1' and 'LPUSH' or 'RPUSH', queue, task)
    redis.call('PUBLISH', 'tq:task:' .. task, 'queued') -- tasks/changes.py
end
redis.call('ZREM', KEYS[3], batch)
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'ended_at', moment, 'looked', looked) end
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return 1

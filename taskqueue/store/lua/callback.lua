-- Queues the job that calls a task's callback_url: once for each end of the task.
-- Loaded before settle_and_claim.lua, cancel.lua and missed_callbacks.lua, which call call_back().
--
--   rq:job:<id>         tq:callback   the hash of that job as JSON, without its times
--                       tq:callbacks  how many were queued: the id of the last one is <id>-callback-<number>
--                       tq:called     1: the callback of this end was queued
--   tq:callbacks:owed   tasks whose end no script has seen yet, by when to look again: missed_callbacks.lua
local function call_back(job, prefix, rq_now)
    local key = prefix .. ':job:' .. job
    local callback, called = unpack(redis.call('HMGET', key, 'tq:callback', 'tq:called'))
    if not callback or called then return end
    local id = job .. '-callback-' .. redis.call('HINCRBY', key, 'tq:callbacks', 1)
    local hash = cjson.decode(callback)
    local fields = { 'created_at', rq_now, 'enqueued_at', rq_now }
    for name, value in pairs(hash) do
        fields[#fields + 1] = name
        fields[#fields + 1] = value
    end
    local queue = prefix .. ':queue:' .. hash.origin
    redis.call('HSET', prefix .. ':job:' .. id, unpack(fields))
    redis.call('SADD', prefix .. ':queues', queue)
    redis.call('RPUSH', queue, id)
    redis.call('HSET', key, 'tq:called', '1')
    redis.call('ZREM', 'tq:callbacks:owed', job)
end


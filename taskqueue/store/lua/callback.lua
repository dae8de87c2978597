-- Queues the job that calls a task's callback_url, once for each of its ends. This stands before settle_and_claim.lua and others.
--
--   rq:job:<id>         tq:callback   the hash of that job, as JSON, but for its times
--                       tq:callbacks  how many were queued: the id of the last one is <id>-callback-<number>
--                       tq:called     1: the one of this end was queued
--   tq:callbacks:owed   tasks that have not ended, or whose end nobody has seen, by when to look at them: owed.lua
local function call_back(job, prefix, moment)
    local key = prefix .. ':job:' .. job
    local callback, called = unpack(redis.call('HMGET', key, 'tq:callback', 'tq:called'))
    if not callback or called then return end
    local id = job .. '-callback-' .. redis.call('HINCRBY', key, 'tq:callbacks', 1)
    local hash = cjson.decode(callback)
    local fields = { 'created_at', moment, 'enqueued_at', moment }
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


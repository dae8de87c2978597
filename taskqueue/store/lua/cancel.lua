-- Cancels a task: one that waits is gone at once; of one that runs, its worker is told to stop it.
--
-- callback.lua stands before it. The status is looked at and changed in one step, so no worker can claim the job in between: either it waits, and is
-- taken away, or it runs, and the worker that has claimed it is known.
--
-- KEYS[1]  rq:job:<id>
-- ARGV[1]  the job's id
-- ARGV[2]  moment  now, as RQ writes it
-- ARGV[3]  ttl     seconds for which a canceled task is kept
--
-- Returns {outcome, status, rate_limit_key}
--   outcome         canceled; stopping: its worker is told; refused: it has ended; unknown
--   status          RQ's, as it was before
--   rate_limit_key  of RQ's own limits, where it has one: RQ's own code gives its place to another job; or ''
local id, moment, ttl = unpack(ARGV)
local prefix = KEYS[1]:sub(1, -(#id + 6)) -- before ":job:<id>"
local now = tonumber(redis.call('TIME')[1])

local found = redis.pcall('HMGET', KEYS[1], 'status', 'origin', 'data', 'worker_name', 'rate_limit_key',
    'tq:limited')
if found.err or not found[3] then return { 'unknown', '', '' } end
local status, origin, _, worker, limit, limited = unpack(found, 1, 6)
origin = origin or 'default'

if status == 'started' then
    -- The worker that settles it sees this, whatever it is told; see engine/settle_and_claim.lua.
    redis.call('HSET', KEYS[1], 'tq:cancel', '1')
    for _, execution in ipairs(redis.call('ZRANGE', prefix .. ':executions:' .. id, 0, -1)) do
        local command = { command = 'stop-execution', job_id = id, execution_id = execution }
        redis.call('PUBLISH', prefix .. ':pubsub:' .. (worker or ''), cjson.encode(command))
    end
    return { 'stopping', status, '' }
end

local WAITS = { queued = true, scheduled = true, deferred = true, rate_limited = true, created = true,
    ready_to_enqueue = true }
if not WAITS[status] then return { 'refused', status or '', '' } end

if status == 'queued' then redis.call('LREM', prefix .. ':queue:' .. origin, 0, id) end
for _, registry in ipairs({ 'scheduled', 'deferred', 'ready' }) do
    redis.call('ZREM', prefix .. ':' .. registry .. ':' .. origin, id)
end
if limited then
    for _, list in ipairs({ ':held', ':passed' }) do redis.call('LREM', 'tq:limit:' .. limited .. list, 1, id) end
end
redis.call('HSET', KEYS[1], 'status', 'canceled', 'ended_at', moment)
for _, key in ipairs({ KEYS[1], prefix .. ':results:' .. id, 'tq:logs:' .. id }) do
    redis.call('EXPIRE', key, ttl)
end
-- RQ never forgets what stands in this registry.
local canceled = prefix .. ':canceled:' .. origin
for _, old in ipairs(redis.call('ZRANGEBYSCORE', canceled, '-inf', now - ttl, 'LIMIT', 0, 100)) do
    if redis.call('EXISTS', prefix .. ':job:' .. old) == 0 then redis.call('ZREM', canceled, old) end
end
redis.call('ZADD', canceled, now, id)
call_back(id, prefix, moment)
redis.call('PUBLISH', 'tq:task:' .. id, 'canceled')
return { 'canceled', status, limit or '' }

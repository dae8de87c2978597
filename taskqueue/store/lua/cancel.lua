-- Cancels a task: a waiting task at once; a running task by a command to its worker to stop it.
-- Loaded behind callback.lua.
--
-- The script reads and changes the status in one step, so no worker can claim the job in between: either the job
-- waits, and is taken off its queue, or it runs, and its hash names the worker.
--
-- KEYS[1]  rq:job:<id>
-- ARGV[1]  the job's id
-- ARGV[2]  rq_now  now, as RQ writes it
-- ARGV[3]  ttl     seconds for which a canceled task is kept
--
-- Returns {outcome, status, rate_limit_key}
--   outcome         canceled; stopping: its worker stops it; refused: it has ended; unknown: there is no such task
--   status          RQ's status before the call
--   rate_limit_key  the job's key among RQ's own limits, whose place RQ's own code must free; or ''
local id, rq_now, ttl = unpack(ARGV)
local prefix = KEYS[1]:sub(1, -(#id + 6)) -- before ":job:<id>"
local now = tonumber(redis.call('TIME')[1])

local fields = redis.pcall('HMGET', KEYS[1], 'status', 'origin', 'data', 'worker_name', 'rate_limit_key',
    'tq:limited')
if fields.err or not fields[3] then return { 'unknown', '', '' } end
local status, origin, _, worker, limit, limited = unpack(fields, 1, 6)
origin = origin or 'default'

if status == 'started' then
    -- settle_and_claim.lua obeys this field even if the worker does not get the command.
    redis.call('HSET', KEYS[1], 'tq:cancel', '1')
    -- A run has a record from its first heartbeat on.
    local executions = redis.call('ZRANGE', prefix .. ':executions:' .. id, 0, -1)
    for _, execution in ipairs(#executions > 0 and executions or { '' }) do
        local name = execution == '' and 'stop-job' or 'stop-execution'
        local command = { command = name, job_id = id, execution_id = execution }
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
redis.call('HSET', KEYS[1], 'status', 'canceled', 'ended_at', rq_now)
for _, key in ipairs({ KEYS[1], prefix .. ':results:' .. id, 'tq:logs:' .. id }) do
    redis.call('EXPIRE', key, ttl)
end
-- RQ never removes anything from this registry.
local canceled = prefix .. ':canceled:' .. origin
for _, old in ipairs(redis.call('ZRANGEBYSCORE', canceled, '-inf', now - ttl, 'LIMIT', 0, 100)) do
    if redis.call('EXISTS', prefix .. ':job:' .. old) == 0 then redis.call('ZREM', canceled, old) end
end
redis.call('ZADD', canceled, now, id)
redis.call('HDEL', KEYS[1], 'tq:called') -- of an earlier end: RQ's own code has requeued it
call_back(id, prefix, rq_now)
redis.call('PUBLISH', 'tq:task:' .. id, 'canceled')
return { 'canceled', status, limit or '' }

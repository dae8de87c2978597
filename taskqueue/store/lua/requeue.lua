-- Sends a failed or canceled task again, with all its attempts.
--
-- KEYS[1]  rq:job:<id>
-- KEYS[2]  rq:queues
-- ARGV[1]  the job's id
-- ARGV[2]  rq_now  now, as RQ writes it
--
-- Returns {outcome, status}
--   outcome  queued; deferred: a task that it depends on has not ended; refused: it has neither failed nor been
--            canceled; limited: it has one of RQ's own limits, so RQ's own code must send it; unknown: there is no
--            such task
--   status   RQ's status before the call
local id, rq_now = unpack(ARGV)
local prefix = KEYS[1]:sub(1, -(#id + 6)) -- before ":job:<id>"

local fields = redis.pcall('HMGET', KEYS[1], 'status', 'origin', 'data', 'rate_limit_key', 'tq:attempts',
    'allow_dependency_failures', 'worker_name', 'tq:limited')
if fields.err or not fields[3] then return { 'unknown', '' } end
local status, origin, _, limit, attempts, allow_failure, worker, limited = unpack(fields, 1, 8)
origin = origin or 'default'
if status ~= 'failed' and status ~= 'stopped' and status ~= 'canceled' then return { 'refused', status or '' } end
if limit and limit ~= '' then return { 'limited', status } end

-- If RQ's own code has canceled it in the first moments of a run, it has found no record of the run (heartbeat.lua),
-- and has left the lease: that run has lost the job.
local held = worker and redis.pcall('SMEMBERS', prefix .. ':worker:' .. worker .. ':executions') or {}
for _, member in ipairs(held.err and {} or held) do
    if member:sub(1, #id + 1) == id .. ':' then
        redis.call('ZREM', prefix .. ':wip:' .. origin, member)
        if limited then redis.call('SREM', 'tq:limit:' .. limited .. ':running', member) end
    end
end

local function must_wait_for(parent)
    local of = redis.call('HGET', prefix .. ':job:' .. parent, 'status')
    return of and of ~= 'finished' and not (of == 'failed' and allow_failure == '1')
end

local waits = false
local dependencies = prefix .. ':job::' .. id .. ':dependencies'
for _, parent in ipairs(redis.call('SMEMBERS', dependencies)) do
    local dependents = prefix .. ':job:' .. parent .. ':dependents'
    if must_wait_for(parent) then
        waits = true
        redis.call('SADD', dependents, id)
    else
        redis.call('SREM', dependents, id) -- so that this parent's end does not send it a second time
    end
end

redis.call('ZREM', prefix .. ':failed:' .. origin, id)
redis.call('ZREM', prefix .. ':canceled:' .. origin, id)
redis.call('HDEL', KEYS[1], 'started_at', 'ended_at', 'worker_name', 'tq:attempt', 'tq:deaths', 'tq:progress',
    'tq:expires_at', 'tq:expired', 'tq:cancel', 'tq:called', 'tq:reason')
if redis.call('HEXISTS', KEYS[1], 'tq:callback') == 1 then
    redis.call('ZADD', 'tq:callbacks:owed', redis.call('TIME')[1], id)
end
local retries = tonumber(attempts) or 0
if retries > 1 then redis.call('HSET', KEYS[1], 'retries_left', retries - 1) end
for _, key in ipairs({ KEYS[1], prefix .. ':results:' .. id, 'tq:logs:' .. id, KEYS[1] .. ':dependents' }) do
    redis.call('PERSIST', key) -- it may wait for longer than an ended task is kept
end
if waits then
    redis.call('HSET', KEYS[1], 'status', 'deferred')
    redis.call('ZADD', prefix .. ':deferred:' .. origin, redis.call('TIME')[1], id)
else
    redis.call('HSET', KEYS[1], 'status', 'queued', 'enqueued_at', rq_now)
    redis.call('SADD', KEYS[2], prefix .. ':queue:' .. origin)
    redis.call('RPUSH', prefix .. ':queue:' .. origin, id)
end
redis.call('PUBLISH', 'tq:task:' .. id, 'queued')
return { waits and 'deferred' or 'queued', status }

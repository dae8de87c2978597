-- Removes all that is kept of a task, unless it runs: whatever stands there, and whoever wrote it.
--
-- KEYS[1]  rq:job:<id>
-- KEYS[2]  rq:queues
-- ARGV[1]  the job's id
--
-- Returns {outcome, rate_limit_key}
--   outcome         deleted; running; unknown: there was nothing
--   rate_limit_key  of RQ's own limits, where it has one: RQ's own code gives its place to another job; or ''
local id = ARGV[1]
local prefix = KEYS[1]:sub(1, -(#id + 6)) -- before ":job:<id>"
local now = redis.call('TIME')[1]

local found = redis.pcall('HMGET', KEYS[1], 'origin', 'group_id', 'description', 'tq:tags', 'rate_limit_key',
    'tq:limited', 'status')
if found.err then found = {} end
local origin, group, job_type, tags, limit, limited, status = unpack(found, 1, 7)

local queues = { [prefix .. ':queue:' .. (origin or 'default')] = true }
for _, key in ipairs(redis.call('SMEMBERS', KEYS[2])) do queues[key] = true end

local runs = {} -- what stands in a started registry for it: <id>:<execution>
for key in pairs(queues) do
    local wip = prefix .. ':wip:' .. key:sub(#prefix + 8)
    for _, member in ipairs(redis.call('ZRANGE', wip, 0, -1)) do
        if member:sub(1, #id + 1) == id .. ':' then
            if tonumber(redis.call('ZSCORE', wip, member)) > tonumber(now) then return { 'running', '' } end
            runs[#runs + 1] = { wip, member }
        end
    end
end

local removed = 0
local function remove(...)
    local count = redis.pcall(...) -- any kind of value may stand there
    if type(count) == 'number' then removed = removed + count end
end

for _, run in ipairs(runs) do
    remove('ZREM', run[1], run[2])
    remove('DEL', prefix .. ':execution:' .. run[2])
end
local ELSEWHERE = { scheduled = true, deferred = true, finished = true, failed = true, stopped = true, canceled = true }
for key in pairs(queues) do
    if not ELSEWHERE[status] then remove('LREM', key, 0, id) end -- a long list takes long to look through
    for _, registry in ipairs({ 'scheduled', 'deferred', 'ready', 'finished', 'failed', 'canceled' }) do
        remove('ZREM', prefix .. ':' .. registry .. ':' .. key:sub(#prefix + 8), id)
    end
end
local dependencies = prefix .. ':job::' .. id .. ':dependencies'
for _, parent in ipairs(redis.call('SMEMBERS', dependencies)) do
    remove('SREM', prefix .. ':job:' .. parent .. ':dependents', id)
end
for _, list in ipairs(limited and { ':held', ':passed' } or {}) do
    remove('LREM', 'tq:limit:' .. limited .. list, 1, id)
end
if group then remove('SREM', prefix .. ':group:' .. group, id) end
remove('ZREM', 'tq:callbacks:owed', id)
remove('ZREM', 'tq:index', id)
if job_type then remove('ZREM', 'tq:index:type:' .. job_type, id) end -- our jobs' description is their type
for tag in (tags or ''):gmatch('[^,]+') do remove('ZREM', 'tq:index:tag:' .. tag, id) end
remove('DEL', KEYS[1], KEYS[1] .. ':dependents', dependencies, prefix .. ':results:' .. id,
    prefix .. ':executions:' .. id, 'tq:logs:' .. id)
redis.call('PUBLISH', 'tq:task:' .. id, 'deleted')
return { removed > 0 and 'deleted' or 'unknown', limit or '' }

-- Removes everything that Redis has of a task, unless it runs: any type of value, whatever program wrote it.
--
-- KEYS[1]  rq:job:<id>
-- KEYS[2]  rq:queues
-- ARGV[1]  the job's id
--
-- Returns {outcome, rate_limit_key}
--   outcome         deleted; running; unknown: there was nothing
--   rate_limit_key  the job's key among RQ's own limits, whose place RQ's own code must free; or ''
local id = ARGV[1]
local prefix = KEYS[1]:sub(1, -(#id + 6)) -- before ":job:<id>"
local now = redis.call('TIME')[1]

local fields = redis.pcall('HMGET', KEYS[1], 'origin', 'group_id', 'description', 'tq:tags', 'rate_limit_key',
    'tq:limited', 'status')
if fields.err then fields = {} end
local origin, group, job_type, tags, limit, limited, status = unpack(fields, 1, 7)

local queues = { [prefix .. ':queue:' .. (origin or 'default')] = true }
for _, key in ipairs(redis.call('SMEMBERS', KEYS[2])) do queues[key] = true end

local runs = {} -- its entries in started registries: <id>:<execution>
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
    local count = redis.pcall(...) -- the key may hold any type of value
    if type(count) == 'number' then removed = removed + count end
end

for _, run in ipairs(runs) do
    remove('ZREM', run[1], run[2])
    remove('DEL', prefix .. ':execution:' .. run[2])
    if limited then remove('SREM', 'tq:limit:' .. limited .. ':running', run[2]) end
end
local IN_REGISTRY = { scheduled = true, deferred = true, finished = true, failed = true, stopped = true,
    canceled = true }
for key in pairs(queues) do
    if not IN_REGISTRY[status] then remove('LREM', key, 0, id) end -- LREM takes long on a long list
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
if job_type then remove('ZREM', 'tq:index:type:' .. job_type, id) end -- the description of our jobs is their type
for tag in (tags or ''):gmatch('[^,]+') do remove('ZREM', 'tq:index:tag:' .. tag, id) end
remove('DEL', KEYS[1], KEYS[1] .. ':dependents', dependencies, prefix .. ':results:' .. id,
    prefix .. ':executions:' .. id, 'tq:logs:' .. id)
redis.call('PUBLISH', 'tq:task:' .. id, 'deleted')
return { removed > 0 and 'deleted' or 'unknown', limit or '' }

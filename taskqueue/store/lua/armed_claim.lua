-- Claims the job for which a process has waited: worker/armed_claim.py. It is short, because the job waits for it:
-- it knows only what a plain job needs. It puts any other job back to the front of its queue, and the process makes
-- the whole claim: settle_and_claim.lua. Loaded behind rq_time.lua and type_of.lua.
--
-- KEYS[1]   rq:queue:<queue>
-- KEYS[2]   tq:bell:<queue>          where BLMOVE has put the job, behind those of others whose calls are still to come
-- KEYS[3]   rq:worker:<name>:executions
-- KEYS[4]   tq:armed:<token>         the execution's id for the job. Without it, the process does not wait any more
-- KEYS[5…]  rq:suspended, and the more important queues: if there is one of them, the whole claim is needed
--
-- ARGV[1…6] prefix, worker, lease, kind, io_types, release: as settle_and_claim.lua takes them
-- ARGV[7]   queue                    its name
--
-- Returns {job, execution, fields}   what was claimed; the fields are those before the claim
--         'empty'                    no job waits
--         'others'                   the first job is of the other kind
--         'look'                     the process must look itself; the id is gone
local prefix, worker, lease, kind, io_types, release, queue = unpack(ARGV)
local ARMED_SECONDS = 60 -- worker/armed_claim.py

-- Puts what bells have taken back to the front of its queue, in its order.
local function put_back()
    while redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', 'LEFT') do end
end

local function look()
    put_back()
    return 'look'
end

local function wait_on(why)
    put_back()
    return redis.call('EXPIRE', KEYS[4], ARMED_SECONDS) == 1 and why or 'look'
end

local job = redis.call('LINDEX', KEYS[2], 0)
if not job then return wait_on('empty') end
local key, hash = prefix .. ':job:' .. job, {}
local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do hash[fields[i]] = fields[i + 1] end
local job_type = type_of(hash.description or '')
local is_io = not hash['tq:alone'] and io_types:find(',' .. job_type .. ',', 1, true) ~= nil
if kind ~= 'any' and is_io ~= (kind == 'io') then return wait_on('others') end

local execution = redis.call('GETDEL', KEYS[4])
if not execution or redis.call('EXISTS', unpack(KEYS, 5)) > 0 then return look() end
if not hash.data or hash.status ~= 'queued' or hash.origin ~= queue or hash['tq:attempt'] or hash['tq:limited']
    or hash['tq:cancel'] or hash['tq:expires_at'] or hash['tq:called'] or hash['tq:progress'] or hash['tq:reason']
    or hash['tq:release'] then return look() end
local paused = redis.call('SMISMEMBER', 'tq:paused', queue, 'type:' .. job_type, 'limits:' .. job_type)
if paused[1] + paused[2] + paused[3] > 0 then return look() end

local time, member, wip = redis.call('TIME'), job .. ':' .. execution, prefix .. ':wip:' .. queue
local now = rq_time(time[1], time[2])

local function claim()
    redis.call('ZADD', wip, string.format('%d.%06d', time[1] + lease, time[2]), member)
    redis.call('SADD', KEYS[3], member)
    redis.call('HSET', key, 'status', 'started', 'started_at', now, 'last_heartbeat', now, 'worker_name', worker,
        'tq:attempt', '1')
    if release ~= '' then redis.call('HSET', key, 'tq:release', release) end
    if hash.ttl or hash.ended_at then redis.call('PERSIST', key) end -- a job may expire only while it waits
    redis.call('PUBLISH', 'tq:task:' .. job, 'started')
    redis.call('LPOP', KEYS[2])
end

if pcall(claim) then return { job, execution, fields } end
-- Redis has refused a command: a key holds another type of value, or a right was taken away.
redis.pcall('ZREM', wip, member)
redis.pcall('SREM', KEYS[3], member)
redis.pcall('HSET', key, 'status', 'queued')
redis.pcall('HDEL', key, 'tq:attempt')
return look()

-- Pauses a job type, resumes it, or changes its limits while it runs. Loaded behind type_of.lua and limits.lua.
--
-- KEYS[1]  tq:limits
-- KEYS[2]  tq:paused    besides the names of paused queues, it has for claim.lua: "type:<type>", a paused type;
--                       "limits:<type>", a type whose limits are not those of the code
-- ARGV[1]  prefix       "rq", or RQ_KEY_PREFIX
-- ARGV[2]  rq_now       now, as RQ writes it
-- ARGV[3]  job_type
-- ARGV[4]  what         pause, resume, change, reset: back to the limits of the code
-- ARGV[5]  concurrency  change, reset: '': no such limit
-- ARGV[6]  count
-- ARGV[7]  seconds
local prefix, rq_now, job_type, what = unpack(ARGV, 1, 4)
local key = 'tq:limit:' .. job_type
local time = redis.call('TIME')

-- Counts what runs: jobs that began without a limit are in no list of it.
local function count_running()
    for _, queue_key in ipairs(redis.call('SMEMBERS', prefix .. ':queues')) do
        for _, member in ipairs(redis.call('ZRANGE', prefix .. ':wip:' .. queue_key:sub(#prefix + 8), 0, -1)) do
            local job = prefix .. ':job:' .. member:match('^(.*):')
            local description, limited = unpack(redis.call('HMGET', job, 'description', 'tq:limited'))
            if limited == job_type or (not limited and type_of(description or '') == job_type) then
                redis.call('HSET', job, 'tq:limited', job_type)
                redis.call('SADD', key .. ':running', member)
            end
        end
    end
end

redis.call('SADD', KEYS[1], job_type)
if what == 'pause' then
    redis.call('HSETNX', key, 'paused', time[1])
    redis.call('SADD', KEYS[2], 'type:' .. job_type)
elseif what == 'resume' then
    redis.call('HDEL', key, 'paused')
    redis.call('SREM', KEYS[2], 'type:' .. job_type)
else
    redis.call('HDEL', key, 'concurrency', 'count', 'seconds', 'changed')
    for i, field in ipairs({ 'concurrency', 'count', 'seconds' }) do
        if ARGV[4 + i] ~= '' then redis.call('HSET', key, field, ARGV[4 + i]) end
    end
    if what == 'change' then
        redis.call('HSET', key, 'changed', time[1])
        redis.call('SADD', KEYS[2], 'limits:' .. job_type)
    else
        redis.call('SREM', KEYS[2], 'limits:' .. job_type)
    end
    if ARGV[5] ~= '' then count_running() end
end
local limits = limits_of(job_type, prefix, time[1] + time[2] / 1000000, rq_now)
limits.take_back() -- what was to begin next may be too much now
limits.release()

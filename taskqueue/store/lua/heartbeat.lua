-- Keeps a worker registered, and renews the leases of the jobs that it runs. A lease that is gone stays gone.
--
-- KEYS[1]  rq:worker:<name>
-- ARGV[1]  prefix      "rq", or RQ_KEY_PREFIX
-- ARGV[2]  lease       seconds
-- ARGV[3]  rq_now      now, as RQ writes it
-- ARGV[4]  lifetime    seconds for which the worker's hash is kept
-- ARGV[5]  finished    runs that have finished since the last heartbeat
-- ARGV[6]  failed      runs that have failed, were retried or stopped since the last heartbeat
-- ARGV[7]  seconds     of work since the last heartbeat
-- ARGV[8]  horses      its work-horses; ARGV[9]: those that run a job
-- ARGV[10] io_slots    how many jobs its I/O process can run at once; ARGV[11]: how many it runs
-- ARGV[12…] origin, job, execution; origin, job, execution …: what runs
--
-- Returns {known, claims, canceled}
--   known     0: the worker's hash had expired, so it must register again; else 1
--   claims    job:execution of all that the worker has claimed and not settled
--   canceled  the executions whose job was canceled while it ran, so that the worker must stop it
local prefix, lease, rq_now, lifetime, finished, failed, seconds = unpack(ARGV, 1, 7)
redis.call('EXPIRE', KEYS[1] .. ':executions', lifetime) -- first: a full Redis refuses the rest
local time = redis.call('TIME')
local canceled = {}
local worker = KEYS[1]:sub(#prefix + 9) -- behind "rq:worker:"
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
for i = 12, #ARGV, 3 do
    local origin, job, execution = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local member = job .. ':' .. execution
    local wip = prefix .. ':wip:' .. origin
    local status, must_cancel = unpack(redis.call('HMGET', prefix .. ':job:' .. job, 'status', 'tq:cancel'))
    if status == 'canceled' or must_cancel then canceled[#canceled + 1] = execution end
    if not status then -- it was deleted: RQ's own code finds the entry of a run only if the run has a record
        redis.call('ZREM', wip, member)
    elseif redis.call('ZSCORE', wip, member) then
        redis.call('ZADD', wip, 'XX', now + lease, member)
        -- RQ's monitoring removes the entry of a run that has no record yet.
        redis.call('SADD', KEYS[1] .. ':executions', member)
        -- RQ's record of the run. Most runs have ended before the first heartbeat, and have none.
        local record, runs = prefix .. ':execution:' .. member, prefix .. ':executions:' .. job
        redis.call('HSETNX', record, 'created_at', now)
        redis.call('HSET', record, 'id', execution, 'job_id', job, 'worker_name', worker, 'last_heartbeat', now)
        redis.call('ZADD', runs, now + lease, execution)
        redis.call('EXPIRE', record, lease + 60)
        redis.call('EXPIRE', runs, lease + 60)
        redis.call('HSET', prefix .. ':job:' .. job, 'last_heartbeat', rq_now)
    end
end
local claims = redis.call('SMEMBERS', KEYS[1] .. ':executions')
if redis.call('EXISTS', KEYS[1]) == 0 then return { 0, claims, canceled } end
if finished ~= '0' then redis.call('HINCRBY', KEYS[1], 'successful_job_count', finished) end
if failed ~= '0' then redis.call('HINCRBY', KEYS[1], 'failed_job_count', failed) end
if finished ~= '0' or failed ~= '0' then redis.call('HINCRBYFLOAT', KEYS[1], 'total_working_time', seconds) end
redis.call('HSET', KEYS[1], 'last_heartbeat', rq_now, 'state', #ARGV > 11 and 'busy' or 'idle',
    'tq:horses', ARGV[8], 'tq:busy', ARGV[9], 'tq:io_slots', ARGV[10], 'tq:io_busy', ARGV[11])
redis.call('EXPIRE', KEYS[1], lifetime)
return { 1, claims, canceled }

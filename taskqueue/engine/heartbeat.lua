-- Keeps a worker's name, and the leases of the jobs that it runs. A lease that is gone is not made anew.
--
-- KEYS[1]  rq:worker:<name>
-- ARGV[1]  prefix      "rq", or RQ_KEY_PREFIX
-- ARGV[2]  lease       seconds
-- ARGV[3]  moment      now, as RQ writes it
-- ARGV[4]  lifetime    seconds for which the worker's hash is kept
-- ARGV[5…] origin, job, execution; origin, job, execution …: what runs
--
-- Returns 0 where the worker's hash had expired: it must register again.
local prefix, lease, moment, lifetime = unpack(ARGV, 1, 4)
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
for i = 5, #ARGV, 3 do
    local origin, job, execution = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local member = job .. ':' .. execution
    local wip = prefix .. ':wip:' .. origin
    if redis.call('ZSCORE', wip, member) then
        redis.call('ZADD', wip, 'XX', now + lease, member)
        redis.call('HSET', prefix .. ':execution:' .. member, 'last_heartbeat', now)
        redis.call('EXPIRE', prefix .. ':execution:' .. member, lease + 60)
        redis.call('EXPIRE', prefix .. ':executions:' .. job, lease + 60)
        redis.call('HSET', prefix .. ':job:' .. job, 'last_heartbeat', moment)
    end
end
redis.call('EXPIRE', KEYS[1] .. ':executions', lifetime)
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'last_heartbeat', moment, 'state', #ARGV > 4 and 'busy' or 'idle')
redis.call('EXPIRE', KEYS[1], lifetime)
return 1

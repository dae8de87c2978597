-- Queues the held jobs for which their limits have a free place, after it has freed the places of jobs whose end no
-- script has seen. Loaded behind limits.lua; called each second.
--
-- KEYS[1]  tq:limits
-- ARGV[1]  prefix   "rq", or RQ_KEY_PREFIX
-- ARGV[2]  rq_now   now, as RQ writes it
local time = redis.call('TIME')
for _, job_type in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if redis.call('EXISTS', 'tq:limit:' .. job_type .. ':held') == 1 then
        local limits = limits_of(job_type, ARGV[1], time[1] + time[2] / 1000000, ARGV[2])
        limits.repair()
        limits.release()
    end
end

-- The limits of a job type, for all workers together: how many of its jobs run at the same time, and how many begin
-- in a period; and the pause of a job type. Loaded before the scripts that call limits_of().
--
--   tq:limits                set of the job types that have limits, had some, or were paused
--   tq:limit:<type>          hash: concurrency; count and seconds. What is missing is not limited. paused: since when
--                            nothing of it begins; changed: since when the limits are not those of the code
--   tq:limit:<type>:running  set of <job>:<execution>
--   tq:limit:<type>:starts   when the last `count` of its jobs began, the latest first
--   tq:limit:<type>:held     list of jobs that were taken off their queues and may not begin yet, in their order
--   tq:limit:<type>:passed   list of jobs that may begin: each is at the front of its queue again, and has a place
--
-- A job that is popped while there is no free place goes to `held`, and so does each job that comes after it, so
-- that their order stays. Each end of a job, and release_limits.lua each second, moves as many on as there are
-- places: no worker has to poll.

local function limits_of(job_type, prefix, now, rq_now)
    local MOST_RELEASED = 1000 -- in one call: a limit may have been removed
    local limits, key = {}, 'tq:limit:' .. job_type
    local concurrency, count, seconds, paused =
        unpack(redis.call('HMGET', key, 'concurrency', 'count', 'seconds', 'paused'))
    concurrency, count = tonumber(concurrency), tonumber(count)

    local function has_room()
        if paused then return false end
        local passed = redis.call('LLEN', key .. ':passed')
        if not (concurrency or count) then return passed < MOST_RELEASED end -- a longer list would take long
        if concurrency and redis.call('SCARD', key .. ':running') + passed >= concurrency then return false end
        if not count then return true end
        if passed >= count then return false end
        local start = redis.call('LINDEX', key .. ':starts', count - 1 - passed)
        return not start or tonumber(start) <= now - seconds
    end

    -- Returns whether a job that was popped may begin. If not, holds it.
    function limits.admit(job)
        local has_passed = redis.call('LREM', key .. ':passed', 1, job) == 1
        if has_passed and not paused then return true end
        if redis.call('EXISTS', key .. ':held') == 0 and has_room() then return true end
        redis.call(has_passed and 'LPUSH' or 'RPUSH', key .. ':held', job)
        redis.call('HSET', prefix .. ':job:' .. job, 'status', 'rate_limited', 'tq:limited', job_type)
        return false
    end

    function limits.begin_run(member)
        if concurrency then redis.call('SADD', key .. ':running', member) end
        if count then
            redis.call('LPUSH', key .. ':starts', string.format('%.6f', now))
            redis.call('LTRIM', key .. ':starts', 0, count - 1)
            redis.call('EXPIRE', key .. ':starts', seconds)
        end
    end

    function limits.end_run(member) redis.call('SREM', key .. ':running', member) end

    -- Keeps the place of a job that is put back to the front of its queue.
    function limits.keep_place(job) redis.call('RPUSH', key .. ':passed', job) end

    -- Holds the jobs again that were to begin next: the type was paused, or its limits were changed.
    function limits.take_back()
        for _ = 1, redis.call('LLEN', key .. ':passed') do
            local job = redis.call('RPOP', key .. ':passed')
            local status, origin = unpack(redis.call('HMGET', prefix .. ':job:' .. job, 'status', 'origin'))
            if status == 'queued' and redis.call('LREM', prefix .. ':queue:' .. origin, 1, job) == 1 then
                redis.call('LPUSH', key .. ':held', job)
                redis.call('HSET', prefix .. ':job:' .. job, 'status', 'rate_limited')
            end
        end
    end

    function limits.release()
        for _ = 1, MOST_RELEASED do
            if not has_room() then return end
            local job = redis.call('LPOP', key .. ':held')
            if not job then return end
            local status, origin = unpack(redis.call('HMGET', prefix .. ':job:' .. job, 'status', 'origin'))
            if status == 'rate_limited' then -- it was neither canceled nor deleted meanwhile
                local queue, before = prefix .. ':queue:' .. origin, redis.call('LINDEX', key .. ':passed', -1)
                redis.call('HSET', prefix .. ':job:' .. job, 'status', 'queued', 'enqueued_at', rq_now)
                if not before or redis.call('LINSERT', queue, 'AFTER', before, job) <= 0 then
                    redis.call('LPUSH', queue, job)
                end
                redis.call('RPUSH', key .. ':passed', job)
            end
        end
    end

    -- Gives the place of a job that was let through, and does not begin, to the next one.
    function limits.drop(job)
        if redis.call('LREM', key .. ':passed', 1, job) == 1 then limits.release() end
    end

    -- Frees the places of jobs that ended where no script saw it: settled by RQ's own code, canceled, or deleted.
    function limits.repair()
        for _, member in ipairs(redis.call('SMEMBERS', key .. ':running')) do
            local origin = redis.call('HGET', prefix .. ':job:' .. member:match('^(.*):'), 'origin')
            if not origin or not redis.call('ZSCORE', prefix .. ':wip:' .. origin, member) then
                limits.end_run(member)
            end
        end
        for _, job in ipairs(redis.call('LRANGE', key .. ':passed', 0, -1)) do
            if redis.call('HGET', prefix .. ':job:' .. job, 'status') ~= 'queued' then
                redis.call('LREM', key .. ':passed', 1, job)
            end
        end
    end

    return limits
end

-- What the parts of settle_and_claim.lua share: its arguments, the time, the keys of a job.
-- Loaded behind wrong_types.lua, callback.lua and limits.lua, and before settle.lua, claim.lua, claim_group.lua and
-- settle_and_claim.lua.
local prefix, worker, lease, kind, io_types, look, rq_now, claim, most, short, again, release = unpack(ARGV, 1, 12)
local FIRST_OUTCOME = 13
local worker_key = KEYS[1]
local executions_key = worker_key .. ':executions'
-- Redis's clock: those of the workers may differ. Times are sent as text, because it costs Redis a microsecond to
-- print a number.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function seconds_from_now(seconds) return string.format('%d', time[1] + seconds) end
local function precisely(seconds) return string.format('%d.%06d', time[1] + seconds, time[2]) end

-- Returns a time as RQ writes it: 2026-11-24T10:43:05.120000Z. (Redis's Lua has no os.date.)
local function rq_time(seconds, microseconds)
    local days, of_day = math.floor(seconds / 86400), seconds % 86400
    -- Howard Hinnant's civil_from_days: the year begins in March, so that the leap day is its last.
    local z = days + 719468
    local era = math.floor(z / 146097)
    local day_of_era = z - era * 146097
    local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460) + math.floor(day_of_era / 36524)
        - math.floor(day_of_era / 146096)) / 365)
    local day_of_year = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
    local month_from_march = math.floor((5 * day_of_year + 2) / 153)
    local day = day_of_year - math.floor((153 * month_from_march + 2) / 5) + 1
    local month = month_from_march < 10 and month_from_march + 3 or month_from_march - 9
    local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
    return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month, day, math.floor(of_day / 3600),
        math.floor(of_day % 3600 / 60), of_day % 60, microseconds)
end

local function keys_of(job, execution)
    return {
        job = prefix .. ':job:' .. job,
        results = prefix .. ':results:' .. job,
        executions = prefix .. ':executions:' .. job,
        execution = prefix .. ':execution:' .. job .. ':' .. execution,
        member = job .. ':' .. execution,
    }
end

local MAX_SET_ASIDE = 1000

local function set_aside(job, why)
    local count = redis.pcall('HLEN', 'tq:aside')
    if type(count) == 'number' and count < MAX_SET_ASIDE then redis.pcall('HSET', 'tq:aside', job, why) end
end

local function cancel(key, job, origin, ttl)
    redis.call('HSET', key, 'status', 'canceled', 'ended_at', rq_now)
    redis.call('HDEL', key, 'tq:cancel', 'tq:called') -- called: for an earlier end, if RQ's code has requeued it
    redis.call('ZADD', prefix .. ':canceled:' .. origin, time[1], job)
    if ttl > 0 then redis.call('EXPIRE', key, ttl) end
end


-- Adds the counts of minutes that are over to their hours, each minute once (telemetry/series.py).
--
-- KEYS[1]  tq:rolled   the last minute that was added
-- ARGV[1]  until       the last minute to add now
-- ARGV[2]  oldest      the oldest minute that is still kept
-- ARGV[3]  most        how many minutes to look at
-- ARGV[4]  lifetime    seconds for which an hour is kept
--
-- Returns how many minutes are left.
local last, oldest, most, lifetime = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local minute = math.max((tonumber(redis.pcall('GET', KEYS[1]) or '') or 0) + 1, oldest)
local stop = math.min(last, minute + most - 1)
while minute <= stop do
    local counts = redis.pcall('HGETALL', 'tq:minute:' .. minute)
    if counts.err then counts = {} end
    local hour = 'tq:hour:' .. math.floor(minute / 60)
    for i = 1, #counts, 2 do redis.pcall('HINCRBY', hour, counts[i], counts[i + 1]) end
    if #counts > 0 then redis.pcall('EXPIRE', hour, lifetime) end
    redis.call('SET', KEYS[1], minute)
    minute = minute + 1
end
return math.max(0, last - stop)

-- Takes calls out of a caller's quota: a bucket that is refilled evenly.
--
-- KEYS[1]  tq:calls:<caller>  a hash: how many calls were left (`left`), and when (`at`: Redis's clock, in seconds)
-- ARGV[1]  quota    how many calls the bucket holds
-- ARGV[2]  window   seconds in which an empty bucket is full again
-- ARGV[3]  wanted   how many calls the caller wants
--
-- Returns {given, left, seconds}: the calls that it takes, those that are left, and the seconds until there is
-- another one (as text).
local quota, window, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local stored = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = quota
if stored[1] then
    left = math.min(quota, stored[1] + math.max(0, now - stored[2]) * quota / window)
end
local given = math.min(wanted, math.floor(left))
left = left - given
redis.call('HSET', KEYS[1], 'left', string.format('%.6f', left), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(window * 1000))  -- then the bucket is full: as without a key
return {given, math.floor(left), tostring(math.max(0, (1 - left) * window / quota))}

-- The breaker of one host. After a failure no task asks the host until a pause is over. Then one task asks it, and
-- the others wait for what that task finds out.
--
-- KEYS[1]  tq:host:<kind>:<host>:<port>   hash, only of a host that has failed: failures (in a row), why and at (of
--                                         the last one), until (when the pause ends), asked (1: one task asks now)
-- KEYS[2]  tq:hosts                       zset: <kind>:<host>:<port> by until. Times are seconds since 1970
-- ARGV[1]  step      'enter': a task wants to ask the host; 'look': it only wants to know;
--                    'failed', 'answered': how a task that has entered fared
-- ARGV[2]  seen      failed: the failures that `enter` returned to this task
-- ARGV[3]  why       failed: what the host did, in words
-- ARGV[4]  first     seconds of the pause after the first failure; it doubles with each
-- ARGV[5]  longest   seconds of the longest pause
-- ARGV[6]  asking    seconds that the one task has; after them, another task may ask
-- ARGV[7]  keep      seconds after a pause for which the count of failures is kept
-- ARGV[8]  most      how many hosts are known at a time
--
-- Returns {state, failures, seconds, why, at}; state 'open': the task may ask; 'paused', 'asked': it must wait
local step, seen, why, first, longest, asking, keep, most = unpack(ARGV)
local member = KEYS[1]:sub(9) -- behind "tq:host:"
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local function text(seconds) return string.format('%.3f', seconds) end

local function pause(seconds, fields)
    local ends = now + seconds
    redis.call('HSET', KEYS[1], 'until', text(ends), unpack(fields))
    redis.call('EXPIRE', KEYS[1], math.ceil(seconds + keep))
    redis.call('ZADD', KEYS[2], text(ends), member)
    redis.call('EXPIRE', KEYS[2], math.ceil(longest + keep))
end

if step == 'answered' then
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], member)
    return { 'open', 0, '0', '', '0' }
end
local failures, ends, reason, at, asked =
    unpack(redis.call('HMGET', KEYS[1], 'failures', 'until', 'why', 'at', 'asked'))
failures, at = tonumber(failures) or 0, text(tonumber(at) or 0)
local left = math.min((tonumber(ends) or 0) - now, longest)
if step == 'failed' then
    if failures ~= tonumber(seen) then -- tasks that asked at the same time count as one
        return { 'paused', failures, text(math.max(left, 0)), reason or '', at }
    end
    local seconds = math.min(first * 2 ^ math.min(failures, 20), tonumber(longest))
    pause(seconds, { 'failures', failures + 1, 'why', why, 'at', text(now) })
    redis.call('HDEL', KEYS[1], 'asked')
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - keep))
    for _ = 1, redis.call('ZCARD', KEYS[2]) - most do
        redis.call('DEL', 'tq:host:' .. redis.call('ZPOPMIN', KEYS[2])[1])
    end
    return { 'paused', failures + 1, text(seconds), why, text(now) }
end
if left > 0 then return { asked and 'asked' or 'paused', failures, text(left), reason or '', at } end
if step == 'enter' and failures > 0 then pause(asking, { 'asked', 1 }) end
return { 'open', failures, '0', reason or '', at }

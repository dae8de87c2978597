-- Counts the tasks in a part of a batch by RQ's status; '' counts those that Redis keeps no longer.
--
-- KEYS[1]  tq:batch:<id>:tasks
-- ARGV[1]  prefix      "rq", or RQ_KEY_PREFIX
-- ARGV[2]  first       index in the list, as LRANGE takes it
-- ARGV[3]  last        index in the list, inclusive
--
-- Returns {status, count, status, count …}
local counts = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], ARGV[2], ARGV[3])) do
    local status = redis.call('HGET', ARGV[1] .. ':job:' .. id, 'status') or ''
    counts[status] = (counts[status] or 0) + 1
end
local answer = {}
for status, count in pairs(counts) do
    answer[#answer + 1] = status
    answer[#answer + 1] = count
end
return answer

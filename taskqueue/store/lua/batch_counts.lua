-- Counts the tasks of a part of a batch by RQ's status; '' for those that are kept no longer.
--
-- KEYS[1]  tq:batch:<id>:tasks
-- ARGV[1]  prefix      "rq", or RQ_KEY_PREFIX
-- ARGV[2]  first       the part: of the list, as LRANGE has it
-- ARGV[3]  last
--
-- Returns {status, count, status, count …}
local counts = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], ARGV[2], ARGV[3])) do
    local status = redis.call('HGET', ARGV[1] .. ':job:' .. id, 'status') or ''
    counts[status] = (counts[status] or 0) + 1
end
local told = {}
for status, count in pairs(counts) do
    told[#told + 1] = status
    told[#told + 1] = count
end
return told

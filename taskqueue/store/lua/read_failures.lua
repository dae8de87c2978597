-- Returns how tasks have failed, each kind of failure once: 10,000 tasks have a few dozen.
--
-- ARGV[1]  prefix  "rq", or RQ_KEY_PREFIX
-- ARGV[2…] ids of tasks
--
-- Returns {kinds, places, times}
--   kinds   tq:failure of some task; or, where a stock RQ worker has written none, a space and the task type
--   places  of each task: which of the kinds, from 1; 0: it has not failed, or is gone
--   times   of each task: its ended_at
local kinds, known, places, times = {}, {}, {}, {}
for i = 2, #ARGV do
    local key, place = ARGV[1] .. ':job:' .. ARGV[i], 0
    local values = redis.pcall('HMGET', key, 'status', 'tq:failure', 'ended_at')
    if not values.err and values[1] == 'failed' then
        local kind = values[2] or ' ' .. (redis.call('HGET', key, 'description') or '')
        if not known[kind] then
            kinds[#kinds + 1] = kind
            known[kind] = #kinds
        end
        place = known[kind]
    end
    places[i - 1], times[i - 1] = place, values[3] or ''
end
return { kinds, places, times }

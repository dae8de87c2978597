-- Returns the latest tasks of a failed registry, latest first, unless nothing has changed since an earlier call.
--
-- KEYS[1]  rq:failed:<queue>
-- ARGV[1]  most   how many
-- ARGV[2]  state  of the earlier answer; '': there was none
--
-- Returns {state, id, score, id, score …}; {state} alone: nothing has changed
local last = tonumber(ARGV[1]) - 1
local ends = redis.call('ZRANGE', KEYS[1], 0, 0, 'REV', 'WITHSCORES')
local state = table.concat({ redis.call('ZCARD', KEYS[1]), ends[1] or '', ends[2] or '',
    redis.call('ZRANGE', KEYS[1], 0, 0)[1] or '' }, ' ')
if state == ARGV[2] then return { state } end
local answer = redis.call('ZRANGE', KEYS[1], 0, last, 'REV', 'WITHSCORES')
table.insert(answer, 1, state)
return answer

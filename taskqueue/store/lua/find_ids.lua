-- Returns the tasks of an index whose ids begin with some characters, newest first, from a place on.
--
-- KEYS[1]  tq:index, or tq:index:…
-- ARGV[1]  beginning  of the ids
-- ARGV[2]  score      what is below it; '': all
-- ARGV[3]  id         likewise, of those with the same score
-- ARGV[4]  least      the least score
-- ARGV[5]  most       how many entries to look at
--
-- Returns {score, id, id, score, id, score …}: the place of the last entry that it has looked at, or '' at the end;
-- then what it has found
local beginning, score, id, least, most = unpack(ARGV)
local key, first = KEYS[1], 0
if score ~= '' then
    local rank = redis.call('ZREVRANK', key, id)
    -- If the task at the place is gone, those with the same score come again: the caller leaves them out.
    first = rank and rank + 1 or redis.call('ZCOUNT', key, id == '' and score or '(' .. score, '+inf')
end
local last = math.min(first + most, redis.call('ZCOUNT', key, least, '+inf')) - 1
local entries = last < first and {} or redis.call('ZRANGE', key, first, last, 'REV')
local answer, length = { '', '' }, #beginning
for _, entry in ipairs(entries) do
    if entry:sub(1, length) == beginning then
        answer[#answer + 1] = entry
        answer[#answer + 1] = redis.call('ZSCORE', key, entry)
    end
end
if #entries == tonumber(most) then
    answer[1], answer[2] = redis.call('ZSCORE', key, entries[#entries]), entries[#entries]
end
return answer

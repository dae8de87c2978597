-- Removes tasks from an index that are gone, a few at a time: jobs expire by themselves, entries of an index do not.
--
-- KEYS[1]  tq:index, or tq:index:…
-- ARGV[1]  prefix   "rq", or RQ_KEY_PREFIX
-- ARGV[2]  from     the score to begin at; '-inf': the oldest
-- ARGV[3]  most     how many entries to look at
--
-- Returns {next, seen, gone}
--   next  the score to go on from; '' at the end
--   seen  how many entries it has looked at
--   gone  how many of them it has removed
local prefix, from, most = unpack(ARGV)
local entries = redis.call('ZRANGE', KEYS[1], from, '+inf', 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
local gone, next_score = 0, ''
for i = 1, #entries, 2 do
    if redis.call('EXISTS', prefix .. ':job:' .. entries[i]) == 0 then
        redis.call('ZREM', KEYS[1], entries[i])
        gone = gone + 1
    end
    next_score = entries[i + 1]
end
if #entries < 2 * most or next_score == from then next_score = '' end
return { next_score, #entries / 2, gone }

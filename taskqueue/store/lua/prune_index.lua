-- Takes tasks that are gone out of an index, a few at a time: RQ forgets its jobs by itself, the index does not.
--
-- KEYS[1]  tq:index, or tq:index:…
-- ARGV[1]  prefix   "rq", or RQ_KEY_PREFIX
-- ARGV[2]  from     the score to begin at; '-inf': the oldest
-- ARGV[3]  most     how many are looked at
--
-- Returns {next, seen, gone}: the score to go on from, '' at the end; how many were looked at; and how many were gone.
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

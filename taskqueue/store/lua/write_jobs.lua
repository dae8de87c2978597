-- Writes the hashes of jobs that have most of their fields in common.
--
-- KEYS     rq:job:<id> …: a hash each
-- ARGV[1]  how many words follow that all of them share
-- ARGV[2…] field, value, field, value …: those
-- then     data, retry_intervals: for each key, in their order
local words = {}
for i = 1, tonumber(ARGV[1]) do words[i] = ARGV[1 + i] end
local shared, own = #words, 1 + #words

for i, key in ipairs(KEYS) do
    words[shared + 1], words[shared + 2] = 'data', ARGV[own + 2 * i - 1]
    words[shared + 3], words[shared + 4] = 'retry_intervals', ARGV[own + 2 * i]
    redis.call('HSET', key, unpack(words))
end

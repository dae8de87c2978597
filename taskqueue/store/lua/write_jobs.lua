-- Writes the hashes of several jobs that share most of their fields.
--
-- KEYS     rq:job:<id> …: the hashes
-- ARGV[1]  how many arguments the shared fields take
-- ARGV[2…] field, value, field, value …: the shared fields
-- then     data, retry_intervals; data, retry_intervals …: the fields of each job, in the order of KEYS
local fields = {}
for i = 1, tonumber(ARGV[1]) do fields[i] = ARGV[1 + i] end
local shared, own = #fields, 1 + #fields

for i, key in ipairs(KEYS) do
    fields[shared + 1], fields[shared + 2] = 'data', ARGV[own + 2 * i - 1]
    fields[shared + 3], fields[shared + 4] = 'retry_intervals', ARGV[own + 2 * i]
    redis.call('HSET', key, unpack(fields))
end

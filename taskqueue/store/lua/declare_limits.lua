-- Stores the limits that the code declares, but for types whose limits somebody has changed: those stay.
--
-- KEYS[1]  tq:limits
-- ARGV     type, concurrency, count, seconds, type, …; '': no such limit
for i = 1, #ARGV, 4 do
    local key = 'tq:limit:' .. ARGV[i]
    if redis.call('HEXISTS', key, 'changed') == 0 then
        redis.call('HDEL', key, 'concurrency', 'count', 'seconds')
        for place, field in ipairs({ 'concurrency', 'count', 'seconds' }) do
            local value = ARGV[i + place]
            if value ~= '' then
                redis.call('HSET', key, field, value)
                redis.call('SADD', KEYS[1], ARGV[i])
            end
        end
    end
end

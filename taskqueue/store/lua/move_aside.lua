-- Moves keys aside that hold a wrong type of value. Loaded behind wrong_types.lua.
--
-- KEYS  the keys to look at
-- ARGV  the type that each of them must have; lock: a string with a lifetime, which another program's value lacks
--
-- Returns what it has moved, in words.
for i, key in ipairs(KEYS) do
    local held = redis.call('TYPE', key).ok
    local is_no_lock = ARGV[i] == 'lock' and (held ~= 'string' or redis.call('PTTL', key) == -1)
    if held ~= 'none' and held ~= ARGV[i] and (ARGV[i] ~= 'lock' or is_no_lock) then with_care().move_aside(key, held, 'a worker') end
end
return moved_aside

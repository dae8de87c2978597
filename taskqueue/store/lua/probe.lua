-- Tries the commands that the scripts use, on a key that exists for the length of this call.
--
-- KEYS[1]  rq:probe:<random>
-- KEYS[2]  tq:probe:<random>
--
-- Returns {command, error; command, error …} of those that Redis refuses.
local refused = {}

local function try(...)
    local answer = redis.pcall(...)
    if type(answer) == 'table' and answer.err then
        refused[#refused + 1] = ...
        refused[#refused + 1] = answer.err
    end
end

try('TIME')
for _, key in ipairs(KEYS) do
    try('RPUSH', key, '')
    try('LMPOP', 1, key, 'LEFT')
    try('DEL', key)
    try('SADD', key, '')
    try('DEL', key)
    try('ZADD', key, 0, '')
    try('DEL', key)
    try('XADD', key, '*', '', '')
    try('EXPIRE', key, 60)
    try('DEL', key)
    try('HSET', key, '', '')
    try('HGETALL', key)
    try('TYPE', key)
    try('DEL', key)
end
try('PUBLISH', 'tq:task:probe', '')
return refused

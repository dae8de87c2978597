-- Returns the ids of those tasks of a list or sorted set that pass a filter, a few hundred in one call: to read the
-- tasks themselves takes a client ten times as long.
--
-- KEYS[1]  a queue, one of its registries, or an index
-- ARGV[1]  prefix      "rq", or RQ_KEY_PREFIX
-- ARGV[2]  first       the place to begin at
-- ARGV[3]  most        how many entries to look at
-- ARGV[4]  conditions  JSON: [field, kind, value or values] of each, as tasks/task_filter.py writes them. Kinds:
--                      in, begins, has (between commas), from, below, below or none
--
-- Returns {seen, id, id …}: how many entries it has looked at
local prefix, first, most, conditions = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), cjson.decode(ARGV[4])
local fields, places, tests, at = { 'status', 'tq:expired' }, { status = 1 }, {}, {}

local function test_of(kind, wanted)
    if kind == 'in' then
        local values = {}
        for _, value in ipairs(wanted) do values[value] = true end
        return function(value) return values[value] end
    elseif kind == 'begins' then
        return function(value) return value:sub(1, #wanted) == wanted end
    elseif kind == 'has' then
        return function(value) return (',' .. value .. ','):find(',' .. wanted .. ',', 1, true) end
    elseif kind == 'from' then
        return function(value) return value >= wanted end
    elseif kind == 'below' then
        return function(value) return value ~= '' and value < wanted end
    end
    return function(value) return value < wanted end -- below or none
end

for i, condition in ipairs(conditions) do
    local field = condition[1]
    if field ~= 'id' and not places[field] then
        fields[#fields + 1] = field
        places[field] = #fields
    end
    tests[i], at[i] = test_of(condition[2], condition[3]), places[field] or 0
end

local function passes(job)
    local values = redis.pcall('HMGET', prefix .. ':job:' .. job, unpack(fields))
    if values.err or not values[1] then return false end
    if values[2] then values[1] = 'canceled' end -- as tasks/listing.py
    values[0] = job
    for i, test in ipairs(tests) do
        if not test(values[at[i]] or '') then return false end
    end
    return true
end

local kind = redis.call('TYPE', KEYS[1]).ok
local read = kind == 'list' and 'LRANGE' or kind == 'zset' and 'ZRANGE'
local entries = read and redis.call(read, KEYS[1], first, first + most - 1) or {}
local answer = { #entries }
for _, entry in ipairs(entries) do
    local job = entry:match('^[^:]*') -- an entry of the started registry is <job>:<execution>
    if passes(job) then answer[#answer + 1] = job end
end
return answer

-- Queues the callbacks of tasks whose end no script has seen: RQ's own code, or a stock worker, has settled them.
-- Loaded behind callback.lua.
--
-- KEYS[1]  tq:callbacks:owed
-- ARGV[1]  prefix  "rq", or RQ_KEY_PREFIX
-- ARGV[2]  rq_now  now, as RQ writes it
-- ARGV[3]  task    the id of the task to look at; '': all that are due for a look
local prefix, rq_now, task = unpack(ARGV)
local MOST, AGAIN_SECONDS = 1000, 60
local ENDED = { finished = true, failed = true, stopped = true, canceled = true }
local now = redis.call('TIME')[1]

local tasks = task ~= '' and { task } or redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, MOST)
for _, job in ipairs(tasks) do
    local status = redis.call('HGET', prefix .. ':job:' .. job, 'status')
    if not status then
        redis.call('ZREM', KEYS[1], job) -- deleted, or expired
    elseif ENDED[status] then
        call_back(job, prefix, rq_now)
        redis.call('ZREM', KEYS[1], job)
    elseif task == '' then
        redis.call('ZADD', KEYS[1], now + AGAIN_SECONDS, job)
    end
end

-- Writes a job and queues its id, once: a client that did not get the answer may call again.
--
-- KEYS[1]  rq:job:<id>            the job's hash, as RQ has it
-- KEYS[2]  rq:queue:<name>        the queue, a list of job ids; RQ pops at its left end
-- KEYS[3]  rq:queues              the set of all queues' keys, which `rq info` and rq-dashboard read
-- KEYS[4…] tq:index, tq:index:type:<type>, tq:index:tag:<tag> …: ids by the time at which they were created
-- ARGV[1]  the job's id
-- ARGV[2]  when it was created, in microseconds since 1970: its score in the indexes
-- ARGV[3]  how many arguments the options take: 0 for most tasks
-- ARGV[4…] option, value, option, value …
--            due              seconds since 1970: the job waits in the scheduled registry until then
--            front            1: at the front of its queue
--            parent           the id of a task that must end first; once for each parent
--            allow_failure    1: a failed parent counts as ended, too
--            held             1: the job waits in the deferred registry until it is released
--            dedupe           a key: while a task with this key waits or runs, nothing is queued, and the answer
--                             names that task
--            dedupe_seconds   how long the key is kept at most
--            batch            the list of a batch's tasks: gets the id of this task, or of its duplicate
--            callback         1: the task has a callback, so its end must not be missed (missed_callbacks.lua)
--            record           a key: the answer is kept there, and given again when the call is repeated
--            fingerprint      of the request: another fingerprint under the same record is refused
--            record_seconds   how long the record is kept
--            relay            the lock of an outbox's relay: nothing is queued unless it holds relay_token, and a
--                             task that is in tq:outbox:sent was queued before
--            relay_token      the token of the relay that calls
-- then     field, value, field, value …: the job's hash
--
-- Returns the status of the job, which is written; or, if there is more to say, as of few tasks,
-- {outcome, status, id, created, blocked_by}
--   outcome     new; duplicate: the task `id` has the same dedupe key; repeated: as the record has it; other: the
--               record has another fingerprint; processing: the record has no answer yet; unknown: the parent `id`
--               does not exist; lost: the relay has lost its lock. Only new jobs are written, and the records of
--               new jobs and duplicates.
--   blocked_by  the id of a parent that ended without success, so that this job runs only if that parent is sent
--               again; or ''
local id, created, option_count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local prefix = KEYS[3]:sub(1, -8) -- before ":queues"
local origin = KEYS[2]:sub(#KEYS[3] + 1) -- behind "rq:queue:", which is as long as "rq:queues"

local known = redis.call('EXISTS', KEYS[1]) == 1
if known then return redis.call('HGET', KEYS[1], 'status') end

local option, parents = {}, {}
for i = 4, 3 + option_count, 2 do
    if ARGV[i] == 'parent' then parents[#parents + 1] = ARGV[i + 1] else option[ARGV[i]] = ARGV[i + 1] end
end

if option.relay then
    if redis.call('GET', option.relay) ~= option.relay_token then return { 'lost', '', '', '', '' } end
    -- It was queued, and its job has ended and expired since: the relay died before it deleted the row.
    if redis.call('ZSCORE', 'tq:outbox:sent', id) then return 'queued' end
end

local function note_sent() -- in the same step as the job: relay.py removes the mark when the row is deleted
    if option.relay then redis.call('ZADD', 'tq:outbox:sent', redis.call('TIME')[1], id) end
end

local function keep_record(outcome, status, of, at)
    if option.record then
        redis.call('HSET', option.record, 'fingerprint', option.fingerprint, 'outcome', outcome,
            'status', status, 'id', of, 'created', at)
        redis.call('EXPIRE', option.record, option.record_seconds)
    end
end

if option.record then
    local record = redis.call('HMGET', option.record, 'fingerprint', 'outcome', 'status', 'id', 'created')
    if record[1] and record[1] ~= option.fingerprint then return { 'other', '', '', '', '' } end
    if record[1] then return { record[2], record[3], record[4], record[5], '' } end
end

local ENDED = { finished = true, failed = true, stopped = true, canceled = true }
if option.dedupe then
    local other = redis.call('GET', option.dedupe)
    local at = other and redis.call('HMGET', prefix .. ':job:' .. other, 'status', 'tq:expires_at', 'tq:attempt')
    local expired = at and at[2] and (at[3] or '0') == '0' and tonumber(at[2]) < tonumber(redis.call('TIME')[1])
    if at and at[1] and not ENDED[at[1]] and not expired then
        keep_record('duplicate', at[1], other, '')
        note_sent()
        if option.batch then redis.call('RPUSH', option.batch, other) end
        return { 'duplicate', at[1], other, '', '' }
    end
end

local status, blocked_by = option.due and 'scheduled' or option.held and 'deferred' or 'queued', ''
for _, parent in ipairs(parents) do
    local of = redis.call('HGET', prefix .. ':job:' .. parent, 'status')
    if not of then return { 'unknown', '', parent, '', '' } end
    if of ~= 'finished' and not (of == 'failed' and option.allow_failure) then
        status = 'deferred'
        if ENDED[of] then blocked_by = parent end
    end
end

local function write()
    redis.call('HSET', KEYS[1], unpack(ARGV, 4 + option_count))
    redis.call('SADD', KEYS[3], KEYS[2])
    if status ~= 'queued' then
        redis.call('HSET', KEYS[1], 'status', status)
        redis.call('HDEL', KEYS[1], 'enqueued_at')
    end
    if status == 'deferred' then
        for _, parent in ipairs(parents) do -- RQ's own keys: RQ's code releases the job
            redis.call('SADD', prefix .. ':job:' .. parent .. ':dependents', id)
            redis.call('SADD', prefix .. ':job::' .. id .. ':dependencies', parent)
        end
    end
    for i = 4, #KEYS do
        redis.call('ZADD', KEYS[i], created, id)
        if i > 5 then redis.call('SADD', 'tq:index:tags', KEYS[i]) end -- for index_pruner.py
    end
    if option.batch then redis.call('RPUSH', option.batch, id) end
    if option.callback then redis.call('ZADD', 'tq:callbacks:owed', redis.call('TIME')[1], id) end
    if option.dedupe then redis.call('SET', option.dedupe, id, 'EX', option.dedupe_seconds) end
    keep_record('repeated', status, id, created)
    note_sent()
    -- Last: if Redis refuses one of the commands, nothing is queued.
    if status == 'queued' then
        redis.call(option.front and 'LPUSH' or 'RPUSH', KEYS[2], id)
    else
        redis.call('ZADD', prefix .. ':' .. status .. ':' .. origin, option.due or redis.call('TIME')[1], id)
    end
end

local done, error_of_redis = pcall(write)
if not done then -- Redis does not undo what it has done: take back what would answer or hold another request
    redis.pcall('DEL', KEYS[1], prefix .. ':job::' .. id .. ':dependencies')
    for _, parent in ipairs(parents) do redis.pcall('SREM', prefix .. ':job:' .. parent .. ':dependents', id) end
    if option.dedupe and redis.pcall('GET', option.dedupe) == id then redis.pcall('DEL', option.dedupe) end
    if option.record then redis.pcall('DEL', option.record) end
    if option.batch then redis.pcall('LREM', option.batch, -1, id) end
    if option.relay then redis.pcall('ZREM', 'tq:outbox:sent', id) end
    local message = type(error_of_redis) == 'table' and error_of_redis.err or tostring(error_of_redis)
    error({ err = (message:gsub('^user_script:%d+: ', '')) }) -- Lua's pcall puts the place in the script before it
end

-- For telemetry/series.py. A statistic that fails keeps no task from its queue.
local minute = ('tq:minute:%d'):format(created / 60000000)
local job_type = KEYS[5]:sub(15) -- behind "tq:index:type:"
if redis.pcall('HINCRBY', minute, job_type .. ':' .. origin .. ':submitted', 1) == 1 then
    redis.pcall('EXPIRE', minute, 21600) -- MINUTES_KEPT_SECONDS
end
return blocked_by == '' and status or { 'new', status, id, created, blocked_by }

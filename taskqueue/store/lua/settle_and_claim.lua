-- Settles the jobs that a process of a worker has run, and claims the next ones, in a single round trip.
-- Loaded behind wrong_types.lua, callback.lua, type_of.lua, limits.lua, turn.lua, settle.lua, claim.lua and
-- claim_group.lua, whose functions it calls.
--
-- Either all of it happens or, where Redis refuses writes, nothing does: at every moment a job is in one of the
-- lists. Both halves may be sent again when the answer was lost: the second time they change nothing.
--
-- KEYS[1]   rq:worker:<name>             the worker's hash
-- KEYS[2…]  rq:queue:<name>              the queues to claim from, the most important first
--
-- ARGV[1]   prefix                       "rq", or RQ_KEY_PREFIX
-- ARGV[2]   worker                       the worker's name
-- ARGV[3]   lease                        seconds until a job whose worker is silent is given to another worker
-- ARGV[4]   kind                         any: claim every job; io: only jobs of `io_types`; cpu: only the others
-- ARGV[5]   io_types                     names of job types: ",email,tq-callback,"
-- ARGV[6]   release                      the worker's RELEASE; '': it has none
-- ARGV[7]   look                         how many jobs of each queue to look through for one of the kind
-- ARGV[8]   rq_now                       now, as RQ writes it: 2026-11-24T10:43:05.120000Z
-- ARGV[9]   claim                        the execution's id for the next job; '': claim nothing
-- ARGV[10]  most                         how many jobs to claim at most
-- ARGV[11]  short                        job types, and how many microseconds each takes: ",noop:40,week:210,".
--                                        '': claim any jobs, which all begin at once. Else: claim one job, of any
--                                        type; or a group of several that are all of these types
-- ARGV[12]  again                        '1': this call is sent again, because its answer was lost; or armed_claim.lua
--                                        may have claimed a job already
-- and, for each outcome, the number of its fields and the fields:
--    1  outcome       finished, failed, stopped, retried, postponed, returned
--    2  job           the job's id
--    3  execution     its execution's id, as the claim gave it
--    4  origin        the name of its queue
--    5  began         seconds since 1970, when the execution began
--    6  ended         seconds since 1970
--    7  ttl           seconds to keep the result or the failure; 0: not at all, -1: for ever
--    8  text          finished: the result, base64 of JSON, or '' for None
--                     else: the traceback, base64 of zlib
--    9  delay         retried, postponed: seconds until the next attempt; retried: 0: at once
--   10  retries_left  retried: the number to store
--   11  deaths        how many of its attempts ended their work-horse, this one included;
--                     '': leave the stored number
--   12  failure       failed, stopped: what it has in common with others (tasks/failure.py)
--                     postponed: why and since when (tasks/put_off.py); '': it is unknown here
--   13  reason        failed, stopped: the code for why (tasks/reason.py)
--   14  alone         returned: 1: it is claimed and run alone from now on
--   and, if the job may have log lines (worker/capture.py):
--   15  attempt       the number of the attempt
--   16  progress      Field.PROGRESS to store; '': there is none, or it is stored already
--   17… at, level, line; at, level, line …: the lines that are not in its log yet
--
-- Returns {settled, claimed, jobs, moved}
--   settled  of each outcome, in their order:
--            'yes'; 'lost': another execution has the job, or nobody, so the outcome is dropped;
--            'canceled': somebody asked to cancel the job, so it is canceled instead of the outcome;
--            'dependents': other jobs wait for it, so nothing was done: RQ's own code must settle it
--   claimed  'claimed'; 'empty': no job waits; 'others': jobs of the other kind wait, but none of ours was found;
--            'suspended': `rq suspend` holds; 'skipped': no claim was asked for, or 'dependents' came before it
--   jobs     job, execution, fields; job, execution, fields …: what was claimed
--            execution: `claim` for one job, <claim>-1, <claim>-2 … for several that begin at once, <claim>.1,
--            <claim>.2 … for a group
--            fields: the job's hash as HGETALL gives it, before the claim; if the call was sent again, only
--            tq:attempt is as before
--   moved    what was moved aside because of its type, in words

-- Takes back a half of this call, if Redis refuses the rest to everybody: a right was taken away, say. So the next
-- call can settle the outcomes, and another one can claim the jobs.
function undo()
    for i = #taken - 3, 1, -4 do
        local queue_key, job, hash, execution = unpack(taken, i, i + 3)
        local member = job .. ':' .. execution
        if #taken > 4 or redis.pcall('SISMEMBER', executions_key, member) == 0 then -- else it is claimed
            redis.pcall('ZREM', prefix .. ':wip:' .. queue_key:sub(#prefix + 8), member)
            redis.pcall('SREM', executions_key, member)
            redis.pcall('HSET', prefix .. ':job:' .. job, 'status', hash.status or 'queued',
                'tq:attempt', hash['tq:attempt'] or '0')
            redis.pcall('LPUSH', queue_key, job)
        end
    end
    for at, done in pairs(steps) do
        if done.owned and not (settled_at[at] or done.result or done.queue) then
            local member = ARGV[at + 2] .. ':' .. ARGV[at + 3]
            redis.pcall('ZADD', prefix .. ':wip:' .. ARGV[at + 4], precisely(lease), member)
            redis.pcall('SADD', executions_key, member)
        end
    end
end

if again == '1' then -- what a bell has taken goes back to the front of its queue, in its order
    for i = 2, #KEYS do
        local bell = 'tq:bell:' .. KEYS[i]:sub(#prefix + 8)
        while type(redis.pcall('LMOVE', bell, KEYS[i], 'RIGHT', 'LEFT')) == 'string' do end
    end
end
local has_dependents = settle_all()
if claim == '' or has_dependents then return { settled, 'skipped', {}, moved_aside } end
if again == '1' then -- the answer to an earlier call may have been lost: find the jobs that have this claim already
    local earlier = {} -- by their places in the group; 0: alone. If the call came twice, one of each; never both kinds
    for _, member in ipairs(with_care().careful('SMEMBERS', executions_key)) do
        local job, execution = member:match('^(.*):(.*)$')
        local more = execution and execution:sub(1, #claim) == claim and execution:sub(#claim + 1)
        local place = more and (more == '' and 0 or tonumber(more:match('^[.-](%d+)$')))
        local origin = place and redis.call('HGET', prefix .. ':job:' .. job, 'origin')
        -- Its lease may be gone: it has run out, or RQ's own code has canceled the job.
        if origin and redis.call('ZSCORE', prefix .. ':wip:' .. origin, member) then
            earlier[place] = { job = job, execution = execution }
        end
    end
    for place = earlier[0] and 0 or 1, earlier[0] and 0 or tonumber(most) do
        local run = earlier[place]
        if run then
            local fields = redis.call('HGETALL', prefix .. ':job:' .. run.job)
            fields[#fields + 1] = 'tq:attempt' -- as it was before the claim
            fields[#fields + 1] = string.format('%d', (tonumber(hash_of(fields)['tq:attempt']) or 1) - 1)
            claimed[#claimed + 1] = run.job
            claimed[#claimed + 1] = run.execution
            claimed[#claimed + 1] = fields
        end
    end
    if #claimed > 0 then return { settled, 'claimed', claimed, moved_aside } end
end
local queues = open_queues()
if not queues then return { settled, 'suspended', {}, moved_aside } end
local others_wait = claim_jobs(queues)
if #claimed > 0 then return { settled, 'claimed', claimed, moved_aside } end
return { settled, others_wait and 'others' or 'empty', {}, moved_aside }

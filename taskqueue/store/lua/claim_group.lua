-- Claims a group: short jobs that a work-horse claims together and runs one after another. Loaded behind claim.lua.
if short ~= '' then -- else a call would pay for functions that it does not use
    local GROUP_MICROSECONDS = 5000 -- of work: so long may a more important job have to wait
    local GROUP_PART = 8 -- of the jobs that wait, one in so many: the others are for other horses
    local ordinary_fields -- the names of fields that a job in a group may have: group_cost()

    -- Returns how many microseconds a job takes at most, if it may be in a group; else nil.
    local function group_cost(queue_key, fields, hash)
        if hash.status ~= 'queued' or hash.origin ~= queue_key:sub(#prefix + 8) then return nil end
        if limited_by(hash) then return nil end
        if (hash['tq:attempt'] or '0') ~= '0' then return nil end -- begin_or_drop() looks at its earlier runs
        if (tonumber(hash.retries_left) or 0) < 1 then return nil end -- it must be safe to run once more
        -- No limits, callbacks, dependencies … RQ writes the fields of its own features, too, but empty.
        ordinary_fields = ordinary_fields or { created_at = 1, enqueued_at = 1, data = 1, origin = 1, status = 1,
            description = 1, timeout = 1, result_ttl = 1, failure_ttl = 1, retries_left = 1, retry_intervals = 1,
            number_of_retries = 1, ['tq:attempts'] = 1, ['tq:attempt'] = 1, ['tq:trace'] = 1, ['tq:tags'] = 1,
            ['tq:by'] = 1, ['tq:release'] = 1 }
        for i = 1, #fields, 2 do
            if fields[i + 1] ~= '' and not ordinary_fields[fields[i]] then return nil end
        end
        local name = ',' .. type_of(hash.description or '') .. ':'
        local _, last = short:find(name, 1, true)
        return last and tonumber(short:match('^%d+', last + 1))
    end

    -- Writes a group as begun.
    local function begin_group(queue_key, group)
        local ends, leases, members = precisely(lease), {}, {}
        for i, each in ipairs(group) do
            members[i] = each.job .. ':' .. each.execution
            leases[2 * i - 1], leases[2 * i] = ends, members[i]
            redis.call('HSET', prefix .. ':job:' .. each.job, 'status', 'started', 'started_at', rq_now,
                'worker_name', worker, 'tq:attempt', next_attempt(each.hash), release_of(each.hash))
        end
        redis.call('ZADD', prefix .. ':wip:' .. queue_key:sub(#prefix + 8), unpack(leases))
        redis.call('SADD', executions_key, unpack(members))
        return true
    end

    -- Claims the job that was popped together with those behind it, if all of them are short. Returns whether it did.
    function claim_group(queue_key, job, fields, hash)
        local cost = group_cost(queue_key, fields, hash)
        local count = cost and math.min(tonumber(most), math.floor((redis.call('LLEN', queue_key) + 1) / GROUP_PART)) or 1
        if count < 2 then return false end
        local group = { { job = job, fields = fields, hash = hash, execution = claim .. '.1' } }
        for i, next_job in ipairs(redis.call('LRANGE', queue_key, 0, count - 2)) do
            local next_fields = redis.pcall('HGETALL', prefix .. ':job:' .. next_job)
            if next_fields.err or next_job == job then break end
            local next_hash = hash_of(next_fields)
            local next_cost = group_cost(queue_key, next_fields, next_hash)
            if not next_cost or cost + next_cost > GROUP_MICROSECONDS then break end
            cost = cost + next_cost
            group[i + 1] = { job = next_job, fields = next_fields, hash = next_hash,
                execution = claim .. '.' .. i + 1 }
        end
        if #group < 2 then return false end
        redis.call('LPOP', queue_key, #group - 1)
        for i, each in ipairs(group) do
            local at = 4 * i
            taken[at - 3], taken[at - 2], taken[at - 1], taken[at] = queue_key, each.job, each.hash, each.execution
        end
        local begun, fault = carefully(begin_group, queue_key, group)
        for _, each in ipairs(group) do
            if begun then
                claimed[#claimed + 1] = each.job
                claimed[#claimed + 1] = each.execution
                claimed[#claimed + 1] = each.fields
            else
                set_aside(each.job, fault)
            end
        end
        taken = {}
        return true
    end
end


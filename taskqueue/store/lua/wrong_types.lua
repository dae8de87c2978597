-- Loaded before the scripts of a worker. What another program has written must not stop a script halfway, because
-- Redis does not undo the first half. careful() is redis.call, except for a key that holds another type of value
-- than the command needs: it moves the key to tq:aside:<key>, where it is kept for a week, notes that in the hash
-- tq:aside, and sends the command again.
local redis = { call = redis.call, pcall = redis.pcall }
local moved_aside = {} -- what this call of the script has moved, in words
local undo = function() end -- what carefully() calls before it raises: a script may have its own
local care

-- Returns the functions for what is rare: most calls make none of them.
local function with_care()
    if care then return care end

    local function move_aside(key, held, user)
        redis.pcall('RENAME', key, 'tq:aside:' .. key)
        redis.pcall('EXPIRE', 'tq:aside:' .. key, 604800)
        moved_aside[#moved_aside + 1] =
            key .. ' held a ' .. held .. ', which ' .. user .. ' cannot use: moved to tq:aside:' .. key
        if key ~= 'tq:aside' then redis.pcall('HSET', 'tq:aside', key, moved_aside[#moved_aside]) end
    end

    local function careful(...)
        local answer = redis.pcall(...)
        if type(answer) ~= 'table' or not answer.err then return answer end
        local command, key = ...
        if answer.err:sub(1, 9) ~= 'WRONGTYPE' or key == 'tq:aside' then error(answer) end
        move_aside(key, redis.pcall('TYPE', key).ok, command)
        return redis.pcall(...)
    end

    -- Redis's message of an error; Lua's pcall puts the place in the script before it.
    local function message_of(err)
        return ((type(err) == 'table' and err.err or tostring(err)):gsub('^user_script:%d+: ', ''))
    end

    -- Whether the data have caused an error, which concerns this job alone. Others concern all: Redis is full, read-only …
    local function is_of_data(message)
        for _, words in ipairs({ 'WRONGTYPE', ' integer', ' float', ' expire', 'overflow', 'attempt to ', 'bad argument',
            'Expected ' }) do
            if message:find(words, 1, true) then return true end
        end
        return false
    end

    -- Calls `act` again after `err`, with care if the data have caused it.
    local function again(err, act, ...)
        if is_of_data(message_of(err)) then
            redis.call = careful
            local done, answer = pcall(act, ...)
            if done then return answer end
            err = answer
        end
        local message = message_of(err)
        if not is_of_data(message) then
            undo()
            error({ err = message })
        end
        return nil, message
    end

    care = { careful = careful, move_aside = move_aside, again = again }
    return care
end

-- Calls `act`, and again with care after an error that the data has caused. Returns its answer; or nil and the error.
local function carefully(act, ...)
    local done, answer = pcall(act, ...)
    if done then return answer end
    return with_care().again(answer, act, ...)
end


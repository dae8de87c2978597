-- Returns the name of the job type, as far as the job's description tells it: our API writes the name, RQ's own
-- enqueue the call. It is '' if somebody has written a description in words.
local function type_of(description)
    local call = description:match('^[^(]*')
    return call:match('^taskqueue%.call%.(.*)$') or call
end

-- Begins the record of a request with an Idempotency-Key, if the request needs more than one script.
--
-- KEYS[1]  tq:idempotency:<digest>
-- ARGV[1]  fingerprint   of the request
-- ARGV[2]  seconds       after which the client may send the request again, if this one never ends
--
-- Returns {} if the record is new; else its {fingerprint, outcome, id}.
local record = redis.call('HMGET', KEYS[1], 'fingerprint', 'outcome', 'id')
if record[1] then return { record[1], record[2], record[3] or '' } end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'outcome', 'processing')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {}

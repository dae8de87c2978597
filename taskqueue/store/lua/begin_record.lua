-- Begins the record of a request with an Idempotency-Key whose work takes more than one script.
--
-- KEYS[1]  tq:idempotency:<digest>
-- ARGV[1]  fingerprint   of the request
-- ARGV[2]  seconds       after which it may be sent again, if it never ends
--
-- Returns {} where it is new; or {fingerprint, outcome, id} as the record has them.
local kept = redis.call('HMGET', KEYS[1], 'fingerprint', 'outcome', 'id')
if kept[1] then return { kept[1], kept[2], kept[3] or '' } end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'outcome', 'processing')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {}

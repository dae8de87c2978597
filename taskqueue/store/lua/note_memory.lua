-- Notes the memory of a worker in its hash, unless Redis has forgotten the worker.
--
-- KEYS[1]  rq:worker:<name>
-- ARGV[1]  bytes
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'tq:memory', ARGV[1]) end

-- Writes a job and pushes its id on a queue, once: a client that did not get the answer may send it again.
--
-- KEYS[1]  rq:job:<id>            the job's hash, as RQ has it
-- KEYS[2]  rq:queue:<name>        the queue, a list of job ids; RQ pops at its left end
-- KEYS[3]  rq:queues              the set of all queues' keys, which `rq info` and rq-dashboard read
-- KEYS[4…] tq:index, tq:index:type:<type>, tq:index:tag:<tag> …: ids by the time at which they were created
-- ARGV[1]  the job's id
-- ARGV[2]  when it was created, in microseconds since 1970: its score in the indexes
-- ARGV[3…] field, value, field, value …: the job's hash
--
-- Returns 1 if the job was queued now, 0 if it was there already.
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('SADD', KEYS[3], KEYS[2])
redis.call('RPUSH', KEYS[2], ARGV[1])
for i = 4, #KEYS do
    redis.call('ZADD', KEYS[i], ARGV[2], ARGV[1])
end
return 1

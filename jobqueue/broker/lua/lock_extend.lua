-- Renew the lease of a lock.
-- KEYS  1 lock
-- ARGV  1 token  2 lease in ms
-- out   1 renewed, 0 this token doesn't hold it (any more)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])

-- Release a lock, and wake one waiter.
-- KEYS  1 lock  2 wake
-- ARGV  1 token
-- out   1 released, 0 this token doesn't hold it (any more)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
-- Nobody may be waiting: the token lives just long enough for a waiter between its last look and its wait.
redis.call('LPUSH', KEYS[2], '1')
redis.call('PEXPIRE', KEYS[2], 1000)
return 1

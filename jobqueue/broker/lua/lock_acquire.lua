-- Take a lock that is free.
-- KEYS  1 lock  2 fence  3 wake
-- ARGV  1 token  2 lease in ms
-- out   {fence, 0} taken (or held by this token: the answer to its first call was lost),
--       {0, ms until the holder's lease ends} when somebody else holds it
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  redis.call('DEL', KEYS[3])  -- it would wake a waiter for nothing
  return {redis.call('INCR', KEYS[2]), 0}
end
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {tonumber(redis.call('GET', KEYS[2])), 0}
end
return {0, math.max(redis.call('PTTL', KEYS[1]), 1)}

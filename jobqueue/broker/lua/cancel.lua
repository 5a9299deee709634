-- Cancel one job: at once when it waits, by asking its worker when it runs.
-- KEYS  1 queue  2 abort  3 events  4 outbox  5 job  6 in-progress  7 retry  8 result  9 progress  10 error  11 once
--       12 counters
-- ARGV  1 id  2 result bytes for a waiting job  3 ms to keep the result  4 ms that the once marker lives on
--       5 field of the counters  6 msgpack list of fields for the outbox (empty: none)
-- out   'cancelled', 'cancelling', 'finished' (there is a result), 'unknown'
if redis.call('EXISTS', KEYS[6]) == 1 and redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
  return 'cancelling'
end
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  if redis.call('EXISTS', KEYS[8]) == 1 then return 'finished' end
  return 'unknown'
end
redis.call('DEL', KEYS[5], KEYS[7], KEYS[9], KEYS[10])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[11], ARGV[4])
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[8], ARGV[2], 'PX', ARGV[3]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'e', cmsgpack.pack({{'cancelled', ARGV[1], false}}))
redis.call('HINCRBY', KEYS[12], ARGV[5], 1)
local outbox = cmsgpack.unpack(ARGV[6])
if #outbox > 0 then redis.call('XADD', KEYS[4], '*', unpack(outbox)) end
return 'cancelled'

-- with lanes
-- Cancel one job: at once when it waits, by asking its worker when it runs.
-- KEYS  1 queue  2 abort  3 events  4 outbox  5 job  6 in-progress  7 retry  8 result  9 progress  10 error  11 once
--       12 counters
-- ARGV  1 id  2 result bytes for a waiting job  3 ms to keep the result  4 ms that the once marker lives on
--       5 field of the counters  6 msgpack list of fields for the outbox (empty: none)
--       7 prefix of this queue's own keys  8 in-progress prefix
-- out   'cancelled', 'cancelling', 'finished' (there is a result), 'unknown'
begin(ARGV[7], KEYS[1], ARGV[8])
local id = ARGV[1]
if redis.call('EXISTS', KEYS[6]) == 1 and redis.call('ZSCORE', KEYS[1], id) then
  redis.call('ZADD', KEYS[2], now, id)
  return 'cancelling'
end
if redis.call('ZREM', KEYS[1], id) == 0 then
  if redis.call('EXISTS', KEYS[8]) == 1 then return 'finished' end
  return 'unknown'
end
redis.call('DEL', KEYS[5], KEYS[7], KEYS[9], KEYS[10], own .. 'checkpoint:' .. id)
redis.call('PEXPIRE', own .. 'partial:' .. id, ARGV[3])
redis.call('ZREM', KEYS[2], id)
redis.call('PEXPIRE', KEYS[11], ARGV[4])
let_go(id)
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[8], ARGV[2], 'PX', ARGV[3]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'e', cmsgpack.pack({{'cancelled', id, false}}))
redis.call('HINCRBY', KEYS[12], ARGV[5], 1)
local outbox = cmsgpack.unpack(ARGV[6])
if #outbox > 0 then redis.call('XADD', KEYS[4], '*', unpack(outbox)) end
return 'cancelled'

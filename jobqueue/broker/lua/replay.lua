-- with lanes
-- Put a dead letter back on its queue as a fresh job with the same id.
-- KEYS  1 queue  2 dead  3 dead index  4 events  5 job  6 retry  7 result  8 abort
-- ARGV  1 entry id  2 job id  3 payload (with its history)  4 prefix of this queue's own keys
--       5 lane  6 priority  7 1 if it needs its lane whatever the rules else 0
-- out   1 replayed, 0 the entry is gone (replayed or discarded by somebody else), -1 such a job waits or runs
begin(ARGV[4], KEYS[1], '')
local id = ARGV[2]
if redis.call('EXISTS', KEYS[5]) == 1 then return -1 end
if redis.call('XDEL', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[3], id)
redis.call('DEL', KEYS[6], KEYS[7])
redis.call('ZREM', KEYS[8], id)  -- meant for the job that was buried
if redis.call('EXISTS', own .. 'buried:' .. id) == 1 then
  redis.call('RENAME', own .. 'buried:' .. id, own .. 'checkpoint:' .. id)
  redis.call('PERSIST', own .. 'checkpoint:' .. id)
end
redis.call('SET', KEYS[5], ARGV[3])
if ARGV[7] == '1' or redis.call('EXISTS', own .. 'rules') == 1 then
  local traits = {lane = ARGV[5], priority = tonumber(ARGV[6]), until_ = '', unique = ''}
  set_traits(id, traits)
  line_up(id, traits, now)
else
  redis.call('ZADD', KEYS[1], now, id)
end
wake(1)
redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'e', cmsgpack.pack({{'replayed', id, false}}))
return 1

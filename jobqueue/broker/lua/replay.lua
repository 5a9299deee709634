-- Put a dead letter back on its queue as a fresh job with the same id.
-- KEYS  1 queue  2 wake  3 dead  4 dead index  5 events  6 job  7 retry  8 result
-- ARGV  1 entry id  2 job id  3 payload (with its history)
-- out   1 replayed, 0 the entry is gone (replayed or discarded by somebody else), -1 such a job waits or runs
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('EXISTS', KEYS[6]) == 1 then return -1 end
if redis.call('XDEL', KEYS[3], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[4], ARGV[2])
redis.call('DEL', KEYS[7], KEYS[8])
redis.call('SET', KEYS[6], ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('LPUSH', KEYS[2], '1')
redis.call('PEXPIRE', KEYS[2], 5000)
redis.call('XADD', KEYS[5], 'MAXLEN', '~', 10000, '*', 'e', cmsgpack.pack({{'replayed', ARGV[2], false}}))
return 1

-- Discard a dead letter for good.
-- KEYS  1 dead  2 dead index  3 its checkpoint
-- ARGV  1 entry id  2 job id
-- out   1 discarded, 0 it was gone
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
if redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[1] then
  redis.call('HDEL', KEYS[2], ARGV[2])
  redis.call('DEL', KEYS[3])
end
return 1

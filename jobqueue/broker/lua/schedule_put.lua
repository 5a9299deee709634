-- Create, replace or delete a schedule, unless somebody else was faster.
-- KEYS  1 schedules  2 due
-- ARGV  1 name  2 its record as it was read, '' if there was none  3 the new record, '' to delete it
--       4 ms of its next tick, '' if none shall come  5 how many there may be, 0: any number
--       6 the prefix of a tenant's names, ''  7 how many of those there may be
-- out   1 done, 0 the record is no longer the one that was read, -1 there are too many, -2 too many of the tenant's
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local most = tonumber(ARGV[5])
if ARGV[2] == '' and most > 0 then
  if redis.call('HLEN', KEYS[1]) >= most then return -1 end
  if ARGV[6] ~= '' then
    local count = 0
    for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
      if string.sub(name, 1, #ARGV[6]) == ARGV[6] then count = count + 1 end
    end
    if count >= tonumber(ARGV[7]) then return -2 end
  end
end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
if ARGV[4] == '' then redis.call('ZREM', KEYS[2], ARGV[1]) else redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1]) end
return 1

-- Save what a running job wants kept, its checkpoint and pieces of its result, if the caller still holds the job.
-- KEYS  1 queue  2 in-progress  3 retry  4 checkpoint  5 partial  6 events
-- ARGV  1 id  2 token  3 attempt that its claim counted  4 fence of that claim
--       5 checkpoint bytes, if there is one to save  6 1 if there is else 0  7 ms to keep the pieces
--       8 stream id  9 piece  10 stream id  11 piece  …
-- out   1 saved, 0 the job is another worker's now, or nobody's
--
-- A piece's stream id is fence-number, so one that is sent again is not there twice, and none comes after those of a
-- newer attempt.
local owner = redis.call('GET', KEYS[2])
if owner ~= ARGV[2] then
  -- As in record.lua, a lease that ran out while nobody claimed the job is still its worker's. A claim that was handed
  -- back isn't counted in the attempts; what it saved has a higher fence.
  local unclaimed = not owner and redis.call('GET', KEYS[3]) == ARGV[3] and redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not unclaimed or tonumber(redis.call('HGET', KEYS[4], 'fence') or 0) > tonumber(ARGV[4]) then return 0 end
end
if ARGV[6] == '1' then redis.call('HSET', KEYS[4], 'fence', ARGV[4], 'data', ARGV[5]) end
for n = 8, #ARGV, 2 do
  redis.pcall('XADD', KEYS[5], 'MAXLEN', 1000, ARGV[n], 'p', ARGV[n + 1])  -- refused when it is there already
end
if #ARGV > 7 then
  redis.call('PEXPIRE', KEYS[5], ARGV[7])
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', 10000, '*', 'e', cmsgpack.pack({{'partial', ARGV[1], (#ARGV - 7) / 2}}))
end
return 1

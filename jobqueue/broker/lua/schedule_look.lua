-- Look which schedules have a tick to deal with.
-- KEYS  1 schedules  2 due
-- ARGV  1 at most so many  2 now in ms, or '' for this server's clock
-- out   {now in ms, ms of the next tick after it or -1, name, record, name, record, ...}
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local later = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%d', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local answer = {now, later[2] and tonumber(later[2]) or -1}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local record = redis.call('HGET', KEYS[1], name)
  if record then
    answer[#answer + 1], answer[#answer + 2] = name, record
  else
    redis.call('ZREM', KEYS[2], name)
  end
end
return answer

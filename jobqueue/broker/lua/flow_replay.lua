-- Begin some steps of a flow anew, unless another round has begun meanwhile.
-- KEYS  1 flow  2 children  3 results  4 items
-- ARGV  1 ms that all of it lives on  2 the round that the caller knows
--       3 msgpack list of steps = {name, how many children it had, 1 if its total is known beforehand else 0,
--         1 to keep the children that succeeded else 0}
-- out   false: there is no such flow (any more); else {1 replayed or 0, fields and values of the flow}
--
-- Each gets another generation: its jobs have other ids, and what is still told of the old ones comes too late.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local replayed = 0
if (redis.call('HGET', KEYS[1], 'round') or '0') == ARGV[2] then
  replayed = 1
  local gone = {'cancelled', 'ended_ms', 'told'}
  for _, step in ipairs(cmsgpack.unpack(ARGV[3])) do
    local name, total, fixed, keep = unpack(step)
    redis.call('HINCRBY', KEYS[1], 'generation:' .. name, 1)
    gone[#gone + 1], gone[#gone + 2] = 'step:' .. name, 'error:' .. name
    gone[#gone + 1], gone[#gone + 2] = 'failed:' .. name, 'cancelled:' .. name
    gone[#gone + 1], gone[#gone + 2] = 'began:' .. name, 'last:' .. name
    if keep == 0 then
      gone[#gone + 1] = 'succeeded:' .. name
      if fixed == 0 then gone[#gone + 1] = 'total:' .. name end
      redis.call('HDEL', KEYS[3], name)
    end
    for from = 0, total - 1, 1000 do
      local fields = {}
      for i = from, math.min(from + 999, total - 1) do fields[#fields + 1] = name .. '.' .. string.format('%d', i) end
      if keep == 0 then
        redis.call('HDEL', KEYS[2], unpack(fields))
        redis.call('HDEL', KEYS[3], unpack(fields))
      else
        for n, state in ipairs(redis.call('HMGET', KEYS[2], unpack(fields))) do
          if state == 'f' or state == 'c' then redis.call('HDEL', KEYS[2], fields[n]) end
        end
      end
    end
  end
  redis.call('HINCRBY', KEYS[1], 'round', 1)
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if field:sub(1, 7) == 'queued:' then gone[#gone + 1] = field end
  end
  redis.call('HDEL', KEYS[1], unpack(gone))
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[1]) end
return {replayed, redis.call('HGETALL', KEYS[1])}

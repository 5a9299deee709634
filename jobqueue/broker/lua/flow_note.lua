-- Note something about a flow, unless another round has begun meanwhile.
-- KEYS  1 flow  2 children  3 results  4 items
-- ARGV  1 ms that all of it lives on  2 the round that the writer knows, or "" for any  3 "1" begins another round, for
--       which nothing counts as enqueued  4 msgpack list of fields and values to set  5 msgpack list of fields to delete
-- out   false: there is no such flow (any more); else {1 noted or 0, fields and values of the flow}
--
-- The fields are told at the top of flow_advance.lua.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local noted = 0
if ARGV[2] == '' or (redis.call('HGET', KEYS[1], 'round') or '0') == ARGV[2] then
  noted = 1
  local set, gone = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5])
  if ARGV[3] == '1' then
    redis.call('HINCRBY', KEYS[1], 'round', 1)
    for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
      if field:sub(1, 7) == 'queued:' then gone[#gone + 1] = field end
    end
  end
  if #set > 0 then redis.call('HSET', KEYS[1], unpack(set)) end
  if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[1]) end
return {noted, redis.call('HGETALL', KEYS[1])}

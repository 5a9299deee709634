-- with lanes
-- Take waiting jobs of a flow off their queue, many at once; where the flow goes on, it may enqueue them again.
-- KEYS  1 queue  2 abort  3 events  4 counters  5 dead  6 dead index
-- ARGV  1 job prefix  2 in-progress prefix  3 retry prefix  4 prefix of this queue's own keys  5 msgpack list of ids
--       6 "cancel": for good, so it is told; "stop": and running ones are asked to stop; "forget": dead letters of them
--         go as well; "look": leave all as it is, and take the waiting ones for running; or ""
--       7 field of the counters
-- out   {how many were withdrawn, list of those that run}
begin(ARGV[4], KEYS[1], ARGV[2])
local job, retry, mode = ARGV[1], ARGV[3], ARGV[6]
local running, events, gone = {}, {}, {}
for _, id in ipairs(cmsgpack.unpack(ARGV[5])) do
  if redis.call('EXISTS', in_progress .. id) == 1 and redis.call('ZSCORE', KEYS[1], id) then
    running[#running + 1] = id
    if mode == 'stop' then redis.call('ZADD', KEYS[2], now, id) end
  elseif mode == 'look' then
    if redis.call('ZSCORE', KEYS[1], id) then running[#running + 1] = id end
  elseif redis.call('ZREM', KEYS[1], id) == 1 then
    events[#events + 1] = {'cancelled', id, false}
    for _, prefix in ipairs({job, retry, own .. 'progress:', own .. 'error:', own .. 'checkpoint:',
      own .. 'partial:', own .. 'once:'}) do
      gone[#gone + 1] = prefix .. id
    end
    let_go(id)
    redis.call('ZREM', KEYS[2], id)
  elseif mode == 'forget' then
    local letter = redis.call('HGET', KEYS[6], id)
    if letter then
      redis.call('XDEL', KEYS[5], letter)
      redis.call('HDEL', KEYS[6], id)
      gone[#gone + 1] = own .. 'buried:' .. id
    end
  end
end
for from = 1, #gone, 1000 do
  redis.call('DEL', unpack(gone, from, math.min(from + 999, #gone)))
end
if (mode == 'cancel' or mode == 'stop') and #events > 0 then
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'e', cmsgpack.pack(events))
  redis.call('HINCRBY', KEYS[4], ARGV[7], #events)
end
return {#events, running}

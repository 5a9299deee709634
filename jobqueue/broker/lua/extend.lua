-- Renew the leases of one worker's running jobs.
-- KEYS  1 queue
-- ARGV  1 lease in ms  2 in-progress prefix  3 retry prefix  4 msgpack list of {id, token, attempt}
-- out   list of the ids that are no longer this worker's
--
-- Lease and score move together: the lease never ends before the score that is its alarm. A lease that ran out while
-- Redis was away is taken again as long as nobody else has claimed the job, which would have counted an attempt.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[1])
local lost, scores = {}, {}
for _, held in ipairs(cmsgpack.unpack(ARGV[4])) do
  local id = held[1]
  local owner = redis.call('GET', ARGV[2] .. id)
  local unclaimed = not owner and redis.call('GET', ARGV[3] .. id) == tostring(held[3])
    and redis.call('ZSCORE', KEYS[1], id)
  if owner == held[2] or unclaimed then
    redis.call('SET', ARGV[2] .. id, held[2], 'PX', lease)
    scores[#scores + 1], scores[#scores + 2] = now + lease, id
  else
    lost[#lost + 1] = id
  end
end
for from = 1, #scores, 1000 do
  redis.call('ZADD', KEYS[1], 'XX', unpack(scores, from, math.min(from + 999, #scores)))
end
return lost

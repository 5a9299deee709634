-- Renew the leases of one worker's running jobs.
-- KEYS  1 queue
-- ARGV  1 lease in ms  2 in-progress prefix  3 msgpack list of {id, token}
-- out   list of the ids whose lease is no longer held under that token
--
-- Lease and score move together: the lease never ends before the score that is its alarm.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[1])
local lost, scores = {}, {}
for _, held in ipairs(cmsgpack.unpack(ARGV[3])) do
  local id = held[1]
  if redis.call('GET', ARGV[2] .. id) == held[2] then
    redis.call('PEXPIRE', ARGV[2] .. id, lease)
    scores[#scores + 1], scores[#scores + 2] = now + lease, id
  else
    lost[#lost + 1] = id
  end
end
for from = 1, #scores, 1000 do
  redis.call('ZADD', KEYS[1], 'XX', unpack(scores, from, math.min(from + 999, #scores)))
end
return lost

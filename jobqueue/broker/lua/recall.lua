-- Answer again with what a worker holds by a claim whose answer never reached it; those leases begin anew.
-- KEYS  1 queue  2 abort
-- ARGV  1 lease in ms  2 token prefix of that claim, which no other has  3 job prefix  4 in-progress prefix
--       5 retry prefix  6 prefix of this queue's own keys, "" where it has none
-- out   as claim.lua's; the fence is that of the newest job, a job's score is now, the number of the rules -1
--
-- A running job's score is the end of its lease, so only ids due within one lease can be the worker's. This walks them
-- all, which is why only a lost answer leads here.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, prefix = tonumber(ARGV[1]), ARGV[2] .. ':'

local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, now + lease)
local jobs, fence = {}, 0
for from = 1, #ids, 1000 do
  local leases = {}
  for i = from, math.min(from + 999, #ids) do leases[#leases + 1] = ARGV[4] .. ids[i] end
  for i, token in ipairs(redis.call('MGET', unpack(leases))) do
    local id = ids[from + i - 1]
    local mine = token and token:sub(1, #prefix) == prefix and tonumber(token:sub(#prefix + 1))
    if mine then
      fence = math.max(fence, mine)
      local abort = redis.call('ZSCORE', KEYS[2], id) and 1 or 0
      local attempt = tonumber(redis.call('GET', ARGV[5] .. id)) or 1
      local traits = ARGV[6] ~= '' and redis.call('HGET', ARGV[6] .. 'traits', id)
      local lane = traits and traits:match('^[^\30]*')
      jobs[#jobs + 1] = {id, tostring(now), redis.call('GET', ARGV[3] .. id), attempt, token, abort, lane}
    end
  end
end
for _, job in ipairs(jobs) do
  redis.call('SET', ARGV[4] .. job[1], job[5], 'PX', lease)
  redis.call('ZADD', KEYS[1], 'XX', now + lease, job[1])
end
return {now, -1, 0, fence, -1, -1, unpack(jobs)}

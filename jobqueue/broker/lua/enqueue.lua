-- Enqueue jobs, each once, and wake as many idle workers as there are jobs due now.
-- KEYS  1 queue  2 wake
-- ARGV  1 job prefix  2 result prefix  3 prefix of this queue's own keys  4 msgpack list of jobs
--       job = {id, payload, at in ms or false, delay in ms, 1 to leave an enqueue-once marker else 0}
-- out   a list, per job: 1 enqueued, 0 such a job waits or runs, 2 its result is kept, 3 its once marker lives
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers, scores, due = {}, {}, 0
for i, job in ipairs(cmsgpack.unpack(ARGV[4])) do
  local id = job[1]
  local answer = 1
  if redis.call('EXISTS', ARGV[1] .. id) == 1 then
    answer = 0
  elseif redis.call('EXISTS', ARGV[2] .. id) == 1 then
    answer = 2
  elseif job[5] == 1 and not redis.call('SET', ARGV[3] .. 'once:' .. id, '1', 'NX') then
    answer = 3
  end
  if answer == 1 then
    local score = job[3] or (now + job[4])
    redis.call('SET', ARGV[1] .. id, job[2])
    scores[#scores + 1], scores[#scores + 2] = score, id
    if score <= now then due = due + 1 end
  end
  answers[i] = answer
end
for from = 1, #scores, 1000 do
  redis.call('ZADD', KEYS[1], unpack(scores, from, math.min(from + 999, #scores)))
end
if due > 0 then
  -- Tokens that nobody takes at once are for a worker between its last look and its wait; they needn't live long.
  local tokens = math.min(due, 64 - redis.call('LLEN', KEYS[2]))
  if tokens > 0 then
    local list = {}
    for i = 1, tokens do list[i] = '1' end
    redis.call('LPUSH', KEYS[2], unpack(list))
    redis.call('PEXPIRE', KEYS[2], 5000)
  end
end
return answers

-- Claim up to `free` due jobs for one worker.
-- KEYS  1 queue  2 abort  [3 fence  4 events  5 wake]
-- ARGV  1 free (>= 1)  2 lease in ms  3 token prefix (worker id)  4 offset of the first due id to look at
--       5 job prefix  6 in-progress prefix  7 retry prefix  8 result prefix
--       9 ids wanted, msgpack list (empty: whatever is due)
-- out   {now in ms, next due in ms or -1, offset for the next call, fence, job, job, …}
--       job = {id, score, payload or false, attempt, token, 1 if asked to abort else 0}
--
-- A claimed job's score moves to the end of its lease, so nobody reads it again until the lease has run out.
-- Ids that a plain arq worker holds (its lease is the bare "1") are paged past and never re-scored.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local free, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local offset = tonumber(ARGV[4])
local window = free * 4

local due
local wanted = cmsgpack.unpack(ARGV[9])
if #wanted == 0 then
  due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', offset, window)
else
  due = {}
  for _, id in ipairs(wanted) do
    local score = redis.call('ZSCORE', KEYS[1], id)
    if score and tonumber(score) <= now then
      due[#due + 1], due[#due + 2] = id, score
    end
  end
end

local fence = 0
if #due > 0 and KEYS[3] then fence = redis.call('INCR', KEYS[3]) end
local token = ARGV[3] .. ':' .. fence
local aborting = #due > 0 and redis.call('ZCARD', KEYS[2]) > 0

local jobs, rescored, started, passed, examined = {}, {}, {}, 0, 0
for i = 1, #due, 2 do
  if #jobs == free then break end
  examined = examined + 1
  local id = due[i]
  local lease_key = ARGV[6] .. id
  if id:gsub('[%z\1-\127\194-\244][\128-\191]*', '') ~= '' then
    redis.call('ZREM', KEYS[1], id)  -- not text: no client can have enqueued it
  elseif redis.call('SET', lease_key, token, 'NX', 'PX', lease) then
    local payload = redis.call('GETEX', ARGV[5] .. id, 'PERSIST')
    if not payload and redis.call('EXISTS', ARGV[8] .. id) == 1 then
      -- Finished already: a plain Job.abort() that came late has put the bare id back.
      redis.call('ZREM', KEYS[1], id)
      redis.call('ZREM', KEYS[2], id)
      redis.call('DEL', lease_key)
    else
      local attempt = redis.call('INCR', ARGV[7] .. id)
      local abort = aborting and redis.call('ZSCORE', KEYS[2], id) and 1 or 0  -- its record takes the mark away
      rescored[#rescored + 1], rescored[#rescored + 2] = now + lease, id
      jobs[#jobs + 1] = {id, due[i + 1], payload, attempt, token, abort}
      started[#started + 1] = {'started', id, attempt}
    end
  elseif redis.call('GET', lease_key) == '1' then
    passed = passed + 1
  else
    -- Held by one of ours, but due: a plain Job.abort() moved the score. Put the alarm back where the lease ends.
    rescored[#rescored + 1], rescored[#rescored + 2] = now + math.max(redis.call('PTTL', lease_key), 1), id
  end
end

for from = 1, #rescored, 1000 do
  redis.call('ZADD', KEYS[1], 'XX', unpack(rescored, from, math.min(from + 999, #rescored)))
end
if KEYS[4] and #started > 0 then
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'e', cmsgpack.pack(started))
end

local next_due = -1
if #jobs < free then
  local head = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if head[2] then next_due = math.ceil(tonumber(head[2])) end
end
local next_offset = 0
if examined == window and #jobs < free then next_offset = offset + passed end
if KEYS[5] and #wanted == 0 and #jobs < free and next_offset == 0 then
  redis.call('DEL', KEYS[5])  -- nothing due is left: the tokens of what is claimed would wake workers for nothing
end
return {now, next_due, next_offset, fence, unpack(jobs)}

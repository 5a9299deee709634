-- with lanes
-- Enqueue jobs, each once, and wake as many idle workers as there are jobs due now.
-- KEYS  1 queue  2 abort
-- ARGV  1 job prefix  2 result prefix  3 prefix of this queue's own keys  4 msgpack list of jobs  5 in-progress prefix
--       job = {id, payload, at in ms or false, delay in ms, 1 to leave an enqueue-once marker else 0,
--              lane, priority, 1 if it needs its lane whatever the rules else 0, unique or false}
--       unique = {key, until "start", "finish" or "", window in ms or 0, on conflict "keep", "replace" or "debounce"}
-- out   a list, per job: 1 enqueued, 0 such a job waits or runs, 2 its result is kept, 3 its once marker lives,
--       {4, id} the job with that id has its unique key, {5, id} that one waits with the new payload now
begin(ARGV[3], KEYS[1], ARGV[5])
local jobs, results = ARGV[1], ARGV[2]
local ruled = redis.call('EXISTS', own .. 'rules') == 1
local answers, scores, fresh, due = {}, {}, {}, 0

local function place(id, traits, at)
  if traits then set_traits(id, traits) end
  if at <= now then due = due + 1 end
  if traits and at <= now then
    line_up(id, traits, at)
  else
    scores[#scores + 1], scores[#scores + 2] = at, id
  end
end

-- The job that has a unique key. One that ended unseen, by somebody who knows no such keys, has it no longer.
local function holder_of(key, until_)
  local holder = redis.call('GET', key)
  if holder and until_ ~= '' and redis.call('EXISTS', jobs .. holder) == 0 then return nil end
  return holder
end

-- Give a waiting job another payload; it keeps its place, unless `at` says when it is due now.
local function replace(id, payload, traits, at)
  if redis.call('EXISTS', in_progress .. id) == 1 or redis.call('EXISTS', jobs .. id) == 0 then return false end
  local score = tonumber(redis.call('ZSCORE', KEYS[1], id) or nil)
  if not score then return false end
  local before = traits_of(id)
  if before then
    local order = redis.call('ZSCORE', own .. 'lane:' .. before.lane, id)
    if order then score = tonumber(order) + before.priority * HEAD_START_MS end
    step_out(id, before)
  end
  redis.call('SET', jobs .. id, payload)
  redis.call('DEL', own .. 'checkpoint:' .. id)  -- that was for the other arguments
  place(id, traits, at or score)
  return true
end

for i, job in ipairs(cmsgpack.unpack(ARGV[4])) do
  local id, payload, at, delay, once, lane, priority, needed, unique = unpack(job)
  at = at or (now + delay)
  local answer = 1
  local traits
  if needed == 1 or ruled then traits = {lane = lane, priority = priority, until_ = '', unique = ''} end
  if redis.call('EXISTS', jobs .. id) == 1 then
    answer = 0
  elseif redis.call('EXISTS', results .. id) == 1 then
    answer = 2
  elseif unique then
    local name, until_, window, conflict = unpack(unique)
    local key = own .. 'unique:' .. name
    local holder = holder_of(key, until_)
    traits.until_, traits.unique = until_, name
    if not holder then
      redis.call('SET', key, id)
      if window > 0 then redis.call('PEXPIRE', key, window) end
    elseif conflict ~= 'keep' and replace(holder, payload, traits, conflict == 'debounce' and at) then
      answer = {5, holder}
      if conflict == 'debounce' and window > 0 then redis.call('PEXPIRE', key, window) end
    else
      answer = {4, holder}
    end
  end
  if answer == 1 and once == 1 and not redis.call('SET', own .. 'once:' .. id, '1', 'NX') then answer = 3 end
  if answer == 1 then
    redis.call('SET', jobs .. id, payload)
    place(id, traits, at)
    fresh[#fresh + 1] = id
  end
  answers[i] = answer
end
for from = 1, #scores, 1000 do
  redis.call('ZADD', KEYS[1], unpack(scores, from, math.min(from + 999, #scores)))
end
for from = 1, #fresh, 1000 do  -- marks of a plain Job.abort() that was for an earlier job of that id, or for none
  redis.call('ZREM', KEYS[2], unpack(fresh, from, math.min(from + 999, #fresh)))
end
if due > 0 then wake(due) end
return answers

-- with lanes
-- Claim up to `free` due jobs for one worker.
-- KEYS  1 queue  2 abort  [3 fence  4 events]
-- ARGV  1 free (>= 1)  2 lease in ms  3 token prefix (worker id)  4 offset of the first due id to look at
--       5 job prefix  6 in-progress prefix  7 retry prefix  8 result prefix
--       9 ids wanted, msgpack list (empty: whatever is due)  10 prefix of this queue's own keys
-- out   {now in ms, next due in ms or -1, offset for the next call, fence, number of the rules,
--        when lanes may go on in ms or -1, job, job, …}
--       job = {id, score, payload or false, attempt, token, 1 if asked to abort else 0, its lane or false}
--
-- A claimed job's score moves to the end of its lease, so nobody reads it again until the lease has run out.
-- Ids that a plain arq worker holds (its lease is the bare "1") are paged past and never re-scored.
begin(ARGV[10], KEYS[1], ARGV[6])
local free, lease, offset = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local window = free * 4
local streams = KEYS[3] ~= nil
local managed = streams and redis.call('EXISTS', own .. 'rules', own .. 'traits', own .. 'using:queue') > 0
if managed and rule('queue') and rule('queue').paused then
  return {now, -1, 0, 0, tonumber(redis.call('HGET', own .. 'rules', 'version') or 0), -1}
end

if managed then
  pass_on(redis.call('SRANDMEMBER', own .. 'blocked') or '')  -- should a passing-on ever be missed, this makes up for it
  for _, scope in ipairs(redis.call('ZRANGEBYSCORE', own .. 'asleep', '-inf', now, 'LIMIT', 0, 16)) do
    redis.call('ZREM', own .. 'asleep', scope)
    pass_on(scope)
  end
end

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

local aborting = redis.call('ZCARD', KEYS[2]) > 0
local fence, token
local jobs, rescored, started, passed, examined = {}, {}, {}, 0, 0

-- Whether the job is this worker's now; what else it may be is seen to.
local function claim(id, score, lane)
  local lease_key = in_progress .. id
  if not fence then
    fence = streams and redis.call('INCR', KEYS[3]) or 0
    token = ARGV[3] .. ':' .. fence
  end
  if redis.call('SET', lease_key, token, 'NX', 'PX', lease) then
    local payload = redis.call('GETEX', ARGV[5] .. id, 'PERSIST')
    if payload or redis.call('EXISTS', ARGV[8] .. id) == 0 then
      local attempt = redis.call('INCR', ARGV[7] .. id)
      local abort = aborting and redis.call('ZSCORE', KEYS[2], id) and 1 or 0  -- its record takes the mark away
      rescored[#rescored + 1], rescored[#rescored + 2] = now + lease, id
      jobs[#jobs + 1] = {id, score, payload, attempt, token, abort, lane}
      started[#started + 1] = {'started', id, attempt}
      return true
    end
    -- Finished already: a plain Job.abort() that came late has put the bare id back.
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('DEL', lease_key)
  elseif redis.call('GET', lease_key) == '1' then
    passed = passed + 1
  else
    -- Held by one of ours, but due: a plain Job.abort() moved the score. Put the alarm back where the lease ends.
    rescored[#rescored + 1], rescored[#rescored + 2] = now + math.max(redis.call('PTTL', lease_key), 1), id
  end
  return false
end

-- What is due and has traits goes to its lane first; one that is to be cancelled waits for nobody.
local plain = {}
local traited = managed and #due > 0 and redis.call('EXISTS', own .. 'traits') == 1
for i = 1, #due, 2 do
  if not managed and #jobs == free then break end
  local id, score = due[i], due[i + 1]
  examined = examined + 1
  if id:gsub('[%z\1-\127\194-\244][\128-\191]*', '') ~= '' then
    redis.call('ZREM', KEYS[1], id)  -- not text: no client can have enqueued it
  elseif not managed then
    claim(id, score, false)
  else
    local traits = traited and traits_of(id)
    if not traits then
      plain[#plain + 1] = {id, score}
    elseif aborting and redis.call('ZSCORE', KEYS[2], id) then
      step_out(id, traits)
      claim(id, score, traits.lane)
    elseif redis.call('EXISTS', in_progress .. id) == 1 then
      claim(id, score, traits.lane)  -- it isn't ours to have; its alarm is set right
    else
      release(id, traits)
      line_up(id, traits, tonumber(score))
    end
  end
end

-- Give out the first job of a lane, unless a limit holds the lane back; true when it is this worker's now.
local function serve(lane, turn)
  local key, scopes = own .. 'lane:' .. lane, scopes_of(lane)
  for _, scope in ipairs(scopes) do
    local allowed, wake_at = allows(scope)
    if not allowed then
      block(lane, scope, wake_at, turn)
      pass_on_all(scopes)
      return false
    end
  end
  local id, order = head_of(key)
  local traits = id and redis.call('ZSCORE', KEYS[1], id) and traits_of(id)
  if id then redis.call('ZREM', key, id) end
  local claimed = traits and claim(id, tostring(order + traits.priority * HEAD_START_MS), lane)
  if claimed then
    for _, scope in ipairs(scopes) do take(scope, id) end
    if traits.until_ == 'start' then free_unique(id, traits) end
  elseif id and not redis.call('ZSCORE', KEYS[1], id) then
    redis.call('HDEL', own .. 'traits', id)  -- taken off the queue by somebody who knows no lanes
  end
  if redis.call('EXISTS', key) == 1 then activate(lane) else dissolve(lane, scopes) end
  pass_on_all(scopes)
  return claimed
end

-- Tenants take turns; jobs without traits are those of the tenant without a name.
local budget, next_plain, opens = free + 32, 1, nil
while managed and #jobs < free and budget > 0 do
  budget = budget - 1
  if plain[next_plain] then
    redis.call('ZADD', own .. 'tenants', 'NX', redis.call('GET', own .. 'turn') or 0, '')
  end
  local tenant, turn = head_of(own .. 'tenants')
  if not tenant then break end
  local allowed
  allowed, opens = allows('queue')
  if not allowed then break end
  local lanes = own .. 'lanes:' .. tenant
  local lane, order = head_of(lanes)
  local candidate, claimed = tenant == '' and plain[next_plain], false
  if candidate and (not lane or tonumber(candidate[2]) <= order) then
    next_plain = next_plain + 1
    claimed = claim(candidate[1], candidate[2], false)
  elseif lane then
    claimed = serve(lane, turn)
  else
    redis.call('ZREM', own .. 'tenants', tenant)
  end
  if claimed then
    take('queue', jobs[#jobs][1])
    redis.call('SET', own .. 'turn', turn)
    if redis.call('EXISTS', lanes) == 1 or (tenant == '' and plain[next_plain]) then
      local weight = tenant ~= '' and rule('tenant:' .. tenant) and rule('tenant:' .. tenant).weight or 1
      redis.call('ZADD', own .. 'tenants', turn + 1 / weight, tenant)
    end
  end
end

for from = 1, #rescored, 1000 do
  redis.call('ZADD', KEYS[1], 'XX', unpack(rescored, from, math.min(from + 999, #rescored)))
end
if streams and #started > 0 then
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'e', cmsgpack.pack(started))
end

local next_due, again, next_offset = -1, -1, 0
if #jobs < free then
  local head = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '(' .. HELD, 'WITHSCORES', 'LIMIT', 0, 1)
  if head[2] then next_due = math.ceil(tonumber(head[2])) end
  if examined == window then next_offset = offset + passed end
  if managed then
    local _, wake_at = head_of(own .. 'asleep')
    again = budget == 0 and now or math.min(opens or HELD, wake_at or HELD)
    if again == HELD then again = -1 end
  end
  if streams and #wanted == 0 and next_offset == 0 and again ~= now then
    redis.call('DEL', own .. 'wake')  -- nothing due is left: the tokens of what is claimed would wake workers for nothing
  end
end
local version = managed and tonumber(redis.call('HGET', own .. 'rules', 'version') or 0) or 0
return {now, next_due, next_offset, fence or 0, version, again, unpack(jobs)}

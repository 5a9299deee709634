-- Lanes: how jobs with a tenant, a priority, keys or limits wait. Put before each script that says "with lanes".
--
-- A lane holds the waiting jobs of one tenant, one function and one set of keys, so that all of them are subject to the
-- same limits: when its head is held back, so is the rest, and nobody has to look at it. The jobs stay members of the
-- queue's set, with the score HELD, where arq's own commands find them and no plain arq worker takes them.
--
--   traits     hash   job id -> lane RS priority RS "start", "finish" or "" RS unique key
--   lane:L     zset   the waiting jobs of lane L -> their order: due time, less a head start by priority
--   lanes:T    zset   lanes of tenant T that may go on -> the order of their first job
--   tenants    zset   tenants with such a lane -> their turn
--   turn       string the turn of the tenant served last (start-time fair queueing)
--   blocked:S  zset   lanes that the limit of scope S holds back -> their tenant's turn when that began
--   blocked    set    the scopes S with such lanes
--   asleep     zset   scopes among them whose rate allows the next job at a known time -> that time
--   using:S    set    ids of the running jobs that count for the concurrency of scope S
--   bucket:S   hash   tokens left for the rate of scope S, and when that was true
--   rules      hash   scope -> JSON {concurrency, rate (a second), burst, weight, paused}; "version" -> its number
--
-- A lane with jobs is either in lanes:T or in one blocked:S. Whoever frees capacity of a scope, or finds some left,
-- passes it on to one blocked lane (`pass_on`); what that lane doesn't use is passed on again.
local HELD = 1e15
local HEAD_START_MS = 600000  -- of each step of priority
local RS, US = '\30', '\31'

local own, queue, in_progress, now  -- prefix of this queue's own keys, its set, prefix of leases, the time in ms
local rules = {}

local function begin(own_prefix, queue_key, lease_prefix)
  local time = redis.call('TIME')
  own, queue, in_progress = own_prefix, queue_key, lease_prefix
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function head_of(zset)
  local head = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  return head[1], tonumber(head[2])
end

-- How many idle workers to wake. Tokens that nobody takes at once are for a worker between its last look and its wait:
-- they needn't live long.
local function wake(count)
  local tokens = math.min(count, 64 - redis.call('LLEN', own .. 'wake'))
  if tokens > 0 then
    local list = {}
    for i = 1, tokens do list[i] = '1' end
    redis.call('LPUSH', own .. 'wake', unpack(list))
    redis.call('PEXPIRE', own .. 'wake', 5000)
  end
end

-- A lane's name is tenant US function US key US key …; its scopes are what limits can be set for.
local function tenant_of(lane) return lane:match('^([^\31]*)') end

local function scopes_of(lane)
  local scopes, index = {}, 0
  for part in (lane .. US):gmatch('([^\31]*)\31') do
    index = index + 1
    if index == 1 and part ~= '' then scopes[#scopes + 1] = 'tenant:' .. part
    elseif index == 2 and part ~= '' then scopes[#scopes + 1] = 'type:' .. part
    elseif index > 2 then scopes[#scopes + 1] = part end
  end
  return scopes
end

-- The rule of a scope: its own, or that of all of its kind ("tenant:*"); false for none, and for one that is no rule.
local function rule(scope)
  if rules[scope] == nil then
    local kind = scope:match('^[^:]*')
    local found = redis.call('HMGET', own .. 'rules', scope, kind .. ':*')
    local readable, limit = pcall(cjson.decode, found[1] or found[2] or 'false')
    rules[scope] = readable and type(limit) == 'table' and limit
  end
  return rules[scope]
end

local function tokens(scope, limit)
  local bucket = redis.call('HMGET', own .. 'bucket:' .. scope, 'tokens', 'at')
  local left, at = tonumber(bucket[1] or limit.burst), tonumber(bucket[2] or now)
  return math.min(limit.burst, left + math.max(0, now - at) * limit.rate / 1000)
end

-- Whether as many jobs of a scope run as may. A job whose worker has died holds its place no longer than its lease: a
-- few are looked at each time, so that a full scope finds out.
local function full(scope, concurrency)
  local using = own .. 'using:' .. scope
  if redis.call('SCARD', using) < concurrency then return false end
  if concurrency > 0 then
    for _, id in ipairs(redis.call('SRANDMEMBER', using, 4)) do
      if redis.call('EXISTS', in_progress .. id) == 0 then redis.call('SREM', using, id) end
    end
  end
  return redis.call('SCARD', using) >= concurrency
end

-- Whether a scope lets one more job start; else, for a rate, when it will.
local function allows(scope)
  local limit = rule(scope)
  if not limit then return true end
  if limit.paused then return false end
  if limit.concurrency and full(scope, limit.concurrency) then return false end
  if limit.rate then
    local left = tokens(scope, limit)
    if left < 1 then return false, now + math.max(1, math.ceil((1 - left) * 1000 / limit.rate)) end
  end
  return true
end

local function take(scope, id)
  local limit = rule(scope)
  if not limit then return end
  if limit.concurrency then redis.call('SADD', own .. 'using:' .. scope, id) end
  if limit.rate then
    local key = own .. 'bucket:' .. scope
    redis.call('HSET', key, 'tokens', tokens(scope, limit) - 1, 'at', now)
    redis.call('PEXPIRE', key, math.ceil(limit.burst * 1000 / limit.rate) + 1000)
  end
end

-- Let a lane with jobs go on. A tenant that comes back gets no credit for the time it had nothing to run.
local function activate(lane)
  local _, order = head_of(own .. 'lane:' .. lane)
  if not order then return end
  local tenant = tenant_of(lane)
  redis.call('ZADD', own .. 'lanes:' .. tenant, order, lane)
  redis.call('ZADD', own .. 'tenants', 'NX', redis.call('GET', own .. 'turn') or 0, tenant)
end

local function deactivate(lane)
  local tenant = tenant_of(lane)
  redis.call('ZREM', own .. 'lanes:' .. tenant, lane)
  if redis.call('EXISTS', own .. 'lanes:' .. tenant) == 0 then redis.call('ZREM', own .. 'tenants', tenant) end
end

-- A scope may hold no lane back any more: then nobody needs to look at it.
local function settle(scope)
  if redis.call('EXISTS', own .. 'blocked:' .. scope) == 0 then
    redis.call('SREM', own .. 'blocked', scope)
    redis.call('ZREM', own .. 'asleep', scope)
  end
end

-- Give what capacity a scope has left to the blocked lane whose tenant has waited for its turn the longest.
local function pass_on(scope)
  local blocked = own .. 'blocked:' .. scope
  if redis.call('EXISTS', blocked) == 0 then return end
  local allowed, wake_at = allows(scope)
  if allowed then
    activate(redis.call('ZPOPMIN', blocked)[1])
    wake(1)
    settle(scope)
  elseif wake_at then
    redis.call('ZADD', own .. 'asleep', wake_at, scope)
  end
end

local function pass_on_all(scopes)
  if redis.call('EXISTS', own .. 'blocked') == 0 then return end
  for _, scope in ipairs(scopes) do pass_on(scope) end
end

-- Hold a lane back for a scope that has nothing left.
local function block(lane, scope, wake_at, turn)
  deactivate(lane)
  redis.call('ZADD', own .. 'blocked:' .. scope, turn, lane)
  redis.call('SADD', own .. 'blocked', scope)
  if wake_at then redis.call('ZADD', own .. 'asleep', wake_at, scope) end
end

-- A lane has lost its last job: it is nowhere.
local function dissolve(lane, scopes)
  deactivate(lane)
  if redis.call('EXISTS', own .. 'blocked') == 0 then return end
  for _, scope in ipairs(scopes) do
    if redis.call('ZREM', own .. 'blocked:' .. scope, lane) == 1 then settle(scope) end
  end
end

local function traits_of(id)
  local traits = redis.call('HGET', own .. 'traits', id)
  if not traits then return nil end
  local lane, priority, until_, unique = traits:match('^([^\30]*)\30([^\30]*)\30([^\30]*)\30(.*)$')
  return {lane = lane, priority = tonumber(priority), until_ = until_, unique = unique}
end

local function set_traits(id, traits)
  local text = table.concat({traits.lane, traits.priority, traits.until_, traits.unique}, RS)
  redis.call('HSET', own .. 'traits', id, text)
end

local function free_unique(id, traits)
  local key = own .. 'unique:' .. traits.unique
  if traits.unique ~= '' and traits.until_ ~= '' and redis.call('GET', key) == id then redis.call('DEL', key) end
end

-- A job is over: nothing is known of it any more.
local function forget(id, traits)
  free_unique(id, traits)
  redis.call('HDEL', own .. 'traits', id)
end

-- Put a job that is due into its lane.
local function line_up(id, traits, due)
  local key = own .. 'lane:' .. traits.lane
  redis.call('ZADD', queue, HELD, id)
  local first = redis.call('EXISTS', key) == 0
  redis.call('ZADD', key, due - traits.priority * HEAD_START_MS, id)
  if first or redis.call('ZSCORE', own .. 'lanes:' .. tenant_of(traits.lane), traits.lane) then activate(traits.lane) end
end

-- Take a waiting job out of its lane.
local function step_out(id, traits)
  local key = own .. 'lane:' .. traits.lane
  if redis.call('ZREM', key, id) == 0 then return end
  local scopes = scopes_of(traits.lane)
  if redis.call('EXISTS', key) == 0 then
    dissolve(traits.lane, scopes)
    pass_on_all(scopes)
  elseif redis.call('ZSCORE', own .. 'lanes:' .. tenant_of(traits.lane), traits.lane) then
    activate(traits.lane)
  end
end

-- A job no longer runs: what it took is free again. Jobs without traits count for the queue alone.
local function release(id, traits)
  local scopes = traits and scopes_of(traits.lane) or {}
  scopes[#scopes + 1] = 'queue'
  for _, scope in ipairs(scopes) do redis.call('SREM', own .. 'using:' .. scope, id) end
  pass_on_all(scopes)
end

-- A waiting job leaves the queue for good: its place, its unique key and what it counted for are free.
local function let_go(id)
  local traits = traits_of(id)
  if traits then
    step_out(id, traits)
    forget(id, traits)
  end
  release(id, traits)
end

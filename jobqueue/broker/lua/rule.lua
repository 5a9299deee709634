-- with lanes
-- Change rules, all of them or none; what they held back goes on as far as the new ones allow.
-- KEYS  1 queue
-- ARGV  1 prefix of this queue's own keys  2 in-progress prefix
--       3 JSON: scope -> the fields to set (null: to remove), or false to remove its rule
--       4 1 when they are the whole configuration else 0: a rule that isn't from it stays as it is, and what is from it
--         and no longer named loses its limits
--       5 how many rules there may be
-- out   the number of the rules now; -1: there would be too many, nothing has changed
--
-- In one step, so that of two configurations taken over at a time one is in force and not a mixture.
-- Jobs that run already count for a new limit of concurrency from now on.
begin(ARGV[1], KEYS[1], ARGV[2])
local all, patches = own .. 'rules', cjson.decode(ARGV[3])

local function read(scope)
  local good, found = pcall(cjson.decode, redis.call('HGET', all, scope) or '{}')
  return good and type(found) == 'table' and found or {}
end

if ARGV[4] == '1' then
  local nothing = {concurrency = cjson.null, rate = cjson.null, burst = cjson.null, weight = cjson.null, source = cjson.null}
  for _, scope in ipairs(redis.call('HKEYS', all)) do
    if scope ~= 'version' then
      if read(scope).source ~= 'config' then
        patches[scope] = nil
      elseif not patches[scope] then
        patches[scope] = nothing  -- a pause of it is the operator's, and stays
      end
    end
  end
end

-- Numbers have lost digits on their way through JSON, on both sides as many.
local function same(one, other)
  for name, value in pairs(one) do
    if tostring(other[name]) ~= tostring(value) then return false end
  end
  for name in pairs(other) do
    if one[name] == nil then return false end
  end
  return true
end

local changed, limited, count = {}, false, redis.call('HLEN', all)
for scope, patch in pairs(patches) do
  local before, after, says = read(scope), {}, false
  if patch then
    for name, value in pairs(before) do after[name] = value end
    for name, value in pairs(patch) do
      if value == cjson.null then after[name] = nil else after[name] = value end
    end
  end
  for name in pairs(after) do says = says or name ~= 'source' end
  local exists = redis.call('HEXISTS', all, scope)
  if not says and exists == 1 then
    changed[scope], count = false, count - 1
  elseif says and not same(before, after) then
    changed[scope], count = cjson.encode(after), count + 1 - exists
    limited = limited or after.concurrency ~= nil
  end
end
if next(changed) == nil then return tonumber(redis.call('HGET', all, 'version') or 0) end
if count > tonumber(ARGV[5]) + 1 then return -1 end  -- one field is the version
for scope, text in pairs(changed) do
  if text then redis.call('HSET', all, scope, text) else redis.call('HDEL', all, scope) end
end
local version = redis.call('HINCRBY', all, 'version', 1)

-- A rule of a whole kind ("tenant:*") concerns each scope of that kind that has none of its own.
local function concerned(one)
  if changed[one] ~= nil then return true end
  return changed[one:match('^[^:]*') .. ':*'] ~= nil and redis.call('HEXISTS', all, one) == 0
end

local running = limited and redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '(' .. HELD, 'LIMIT', 0, 100000) or {}
for _, id in ipairs(running) do
  if redis.call('EXISTS', in_progress .. id) == 1 then
    local traits = traits_of(id)
    local scopes = traits and scopes_of(traits.lane) or {}
    scopes[#scopes + 1] = 'queue'
    for _, one in ipairs(scopes) do
      local limit = concerned(one) and rule(one)
      if limit and limit.concurrency then redis.call('SADD', own .. 'using:' .. one, id) end
    end
  end
end
for _, one in ipairs(redis.call('SMEMBERS', own .. 'blocked')) do
  if concerned(one) then pass_on(one) end
end
wake(64)
return version

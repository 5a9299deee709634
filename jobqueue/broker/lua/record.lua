-- with lanes
-- Record the outcomes of a group of jobs, each only if it is still its worker's: the lease is held under its token, or
-- has run out while Redis was away and nobody has claimed the job since, which would have counted an attempt.
-- KEYS  1 queue  2 abort  [3 events  4 counters  5 retries  6 dead  7 dead index  8 outbox]
-- ARGV  1 job prefix  2 in-progress prefix  3 retry prefix  4 result prefix  5 prefix of this queue's own keys
--       6 msgpack list of ops
-- out   list of the ids refused: another worker owns them now, or nobody does
--
-- op    id, token, attempt   whose job
--       finish      true: the job is over; else it is queued again
--         result, ttl   bytes kept for ttl ms (0: for ever); no result: nothing kept
--         keep          ms to leave the lease behind (arq's cron jobs)
--         once          true: the enqueue-once marker lives ttl_once ms from now
--         ttl_once
--       delay       ms from now until it is due again, or  at  absolute ms
--         refund        true: the attempt doesn't count
--         error         bytes shown as the last error while it waits
--       pieces      flat list of stream id and bytes of the pieces that its partial result lacks; that expires with the
--                   result, and ttl_pieces ms from now when the job isn't over
--       event       {kind, id, data}      count  field of the counters
--       retry, dead, outbox   flat lists of fields of a stream entry; payload: bytes that the dead letter keeps
--         ttl_buried    ms for which the dead letter keeps the job's checkpoint
begin(ARGV[5], KEYS[1], ARGV[2])
local job, retry, result = ARGV[1], ARGV[3], ARGV[4]
local streams = KEYS[3] ~= nil
local traited = streams and redis.call('EXISTS', own .. 'traits') == 1
local counted = streams and (traited or redis.call('EXISTS', own .. 'using:queue') == 1)
local aborting = redis.call('ZCARD', KEYS[2]) > 0

local ops = cmsgpack.unpack(ARGV[6])
local owners = {}
for from = 1, #ops, 1000 do
  local leases = {}
  for i = from, math.min(from + 999, #ops) do leases[#leases + 1] = in_progress .. ops[i].id end
  for _, owner in ipairs(redis.call('MGET', unpack(leases))) do owners[#owners + 1] = owner end
end

local refused, applied, over, gone, events, counts = {}, {}, {}, {}, {}, {}
for i, op in ipairs(ops) do
  local id = op.id
  local unclaimed = not owners[i] and redis.call('GET', retry .. id) == tostring(op.attempt)
    and redis.call('ZSCORE', KEYS[1], id)
  -- A worker that ran a job twice over a failover may record both runs at once: the first takes the job.
  if applied[id] or (owners[i] ~= op.token and not unclaimed) then
    refused[#refused + 1] = id
  else
    applied[id] = true
    if op.dead then
      local old = redis.call('HGET', KEYS[7], id)
      if old then redis.call('XDEL', KEYS[6], old) end
      local fields = op.dead
      fields[#fields + 1], fields[#fields + 2] = 'payload', redis.call('GET', job .. id) or ''
      redis.call('HSET', KEYS[7], id, redis.call('XADD', KEYS[6], '*', unpack(fields)))
      if redis.call('EXISTS', own .. 'checkpoint:' .. id) == 1 then
        -- Out of the way of another job that gets this id, and to where a replay finds it.
        redis.call('RENAME', own .. 'checkpoint:' .. id, own .. 'buried:' .. id)
        redis.call('PEXPIRE', own .. 'buried:' .. id, op.ttl_buried)
      else
        redis.call('DEL', own .. 'buried:' .. id)  -- an older letter's
      end
    end
    local traits = traited and traits_of(id)
    if counted then release(id, traits) end
    if op.finish then
      over[#over + 1] = id
      if traits then forget(id, traits) end
      if op.result then
        if op.ttl > 0 then
          redis.call('SET', result .. id, op.result, 'PX', op.ttl)
        else
          redis.call('SET', result .. id, op.result)
        end
      end
      if op.keep then redis.call('PEXPIRE', in_progress .. id, op.keep) else gone[#gone + 1] = in_progress .. id end
      gone[#gone + 1], gone[#gone + 2] = job .. id, retry .. id
      if streams then
        gone[#gone + 1], gone[#gone + 2] = own .. 'progress:' .. id, own .. 'error:' .. id
        gone[#gone + 1] = own .. 'checkpoint:' .. id
        if op.once then redis.call('PEXPIRE', own .. 'once:' .. id, op.ttl_once) end
      end
      if aborting then redis.call('ZREM', KEYS[2], id) end
    else
      gone[#gone + 1] = in_progress .. id
      redis.call('ZADD', KEYS[1], 'XX', op.at or (now + op.delay), id)
      if op.lane then
        traits = traits or {priority = 0, until_ = '', unique = ''}
        traits.lane = op.lane
        set_traits(id, traits)
      end
      if op.refund then redis.call('DECR', retry .. id) end
      if op.error then redis.call('SET', own .. 'error:' .. id, op.error) end
    end
    if op.pieces then
      local partial = own .. 'partial:' .. id
      for n = 1, #op.pieces, 2 do  -- one that is there already is refused
        redis.pcall('XADD', partial, 'MAXLEN', 1000, op.pieces[n], 'p', op.pieces[n + 1])
      end
      if op.finish and op.result and op.ttl == 0 then
        redis.call('PERSIST', partial)
      else
        redis.call('PEXPIRE', partial, not op.finish and op.ttl_pieces or op.result and op.ttl or 0)
      end
    end
    if op.retry then redis.call('XADD', KEYS[5], 'MAXLEN', '~', 10000, '*', unpack(op.retry)) end
    if op.outbox then redis.call('XADD', KEYS[8], '*', unpack(op.outbox)) end
    if op.event then events[#events + 1] = op.event end
    if op.count then counts[op.count] = (counts[op.count] or 0) + 1 end
  end
end

for from = 1, #over, 1000 do
  redis.call('ZREM', KEYS[1], unpack(over, from, math.min(from + 999, #over)))
end
for from = 1, #gone, 1000 do
  redis.call('DEL', unpack(gone, from, math.min(from + 999, #gone)))
end
if #events > 0 then redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'e', cmsgpack.pack(events)) end
for field, n in pairs(counts) do redis.call('HINCRBY', KEYS[4], field, n) end
return refused

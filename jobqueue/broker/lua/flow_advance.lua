-- Apply how some steps of a flow ended, each once, and answer with how the flow stands then.
-- KEYS  1 flow  2 children  3 results  4 items
-- ARGV  1 ms that all of it lives on  2 msgpack list of ends
--       end = {step, index of the child or -1, generation, state, message, result or false}
-- out   false: there is no such flow (any more); else {how many ends were applied, fields and values of the flow}
--
-- Fields of the flow
--   spec              msgpack of the flow without its items
--   step:S            state of step S, once it has ended; of a group only when its children couldn't be told
--   total:S           children of group S, once known; for inline items it stands in the spec
--   succeeded:S, failed:S, cancelled:S   its children that ended so
--   began:S, last:S   when group S was begun, and when its last child so far ended, ms
--   error:S           the last error of step S
--   generation:S      how often S was replayed; ends of an older generation come too late
--   queued:S          jobs of S enqueued so far in this round
--   round             grows when what was enqueued may be on its queue no more
--   cancelled, ended_ms, told   asked to stop; since when it is over; the end that was told
--
-- A success is final; another end stays until a success comes (a dead letter was replayed). So an end that is told
-- again, however late, undoes nothing.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local LETTERS = {succeeded = 's', failed = 'f', cancelled = 'c'}
local STATES = {s = 'succeeded', f = 'failed', c = 'cancelled'}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local applied = 0
for _, one in ipairs(cmsgpack.unpack(ARGV[2])) do
  local step, child, generation, state, message, result = unpack(one)
  local field = child < 0 and step or step .. '.' .. string.format('%d', child)
  local old
  if child < 0 then
    old = redis.call('HGET', KEYS[1], 'step:' .. step)
  else
    old = STATES[redis.call('HGET', KEYS[2], field)]
  end
  local current = tonumber(redis.call('HGET', KEYS[1], 'generation:' .. step) or 0)
  if generation == current and (not old or (old ~= 'succeeded' and state == 'succeeded')) then
    applied = applied + 1
    if child < 0 then
      redis.call('HSET', KEYS[1], 'step:' .. step, state)
    else
      redis.call('HSET', KEYS[2], field, LETTERS[state])
      redis.call('HSET', KEYS[1], 'last:' .. step, now)
      redis.call('HINCRBY', KEYS[1], state .. ':' .. step, 1)
      if old then redis.call('HINCRBY', KEYS[1], old .. ':' .. step, -1) end
    end
    if message ~= '' then redis.call('HSET', KEYS[1], 'error:' .. step, message) end
    if result then redis.call('HSET', KEYS[3], field, result) end
  end
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[1]) end
return {applied, redis.call('HGETALL', KEYS[1])}

-- The root of leases. `acquire` debits g = min(remaining, max(cost, min(wanted, share · remaining))), or nothing if the
-- cost does not fit; `return` gives a window what a lease left over, once a grant.
-- Answer: granted or returned, now, remaining, lease time, generation, grant, debt, stepped.
local op, root, ttl_ms = ARGV[1], ARGV[2], ARGV[3]

-- Grants of one window that can be returned; further returns are lost, which only under-admits.
local RETURNS_MAX = 64

local function granted(remaining, cost, wanted, share)
  if cost > remaining then return 0 end
  return math.min(remaining, math.max(cost, math.min(wanted, math.floor(remaining * share / 1000))))
end

-- State: last seen time, debt.
if root == 'bucket' then
  local capacity, per_us, horizon, per_permit = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local cost, wanted, share, lease = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
  local state = recall(KEYS[1])
  local now, stepped = clock(state[1], horizon)
  local debt = state[2] or 0
  if state[1] and stepped == 0 then
    local elapsed = now - state[1]
    debt = elapsed < horizon and math.max(0, debt - elapsed * per_us) or 0
  end
  local remaining = math.floor((capacity - debt) / per_permit)
  local permits = granted(remaining, cost, wanted, share)
  debt = debt + permits * per_permit
  if permits + stepped > 0 then store(KEYS[1], ttl_ms, {now, debt}) end
  return {permits, now, remaining - permits, lease, 0, 0, debt, stepped}
end

-- State: last seen time, window, used, generation, grants issued, then the grants returned. The generation is the time
-- at which the window was first seen, which tells a window from the same one after the clock was set back.
local requests, window = tonumber(ARGV[4]), tonumber(ARGV[5])
local state = recall(KEYS[1])
local now, stepped = clock(state[1], window)
local index = math.floor(now / window)
if stepped == 1 then
  state = {now, index, state[3], now, 0}
elseif state[2] ~= index then
  state = {now, index, 0, now, 0}
end
state[1] = now

if op == 'return' then
  local grant, generation, permits = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
  local known = generation == state[4] and grant <= state[5] and #state < 5 + RETURNS_MAX
  for i = 6, #state do known = known and state[i] ~= grant end
  if known then
    state[3] = math.max(0, state[3] - permits)
    state[#state + 1] = grant
  end
  local answer = {known and permits or 0, now, requests - state[3], 0, state[4], grant, 0, stepped}
  if known or stepped == 1 then store(KEYS[1], ttl_ms, state) end
  return answer
end

local cost, wanted, share, lease = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local permits = granted(requests - state[3], cost, wanted, share)
state[3] = state[3] + permits
if permits > 0 then state[5] = state[5] + 1 end
local until_end = (index + 1) * window - now
local answer =
  {permits, now, requests - state[3], math.min(lease, until_end), state[4], state[5], 0, stepped}
if permits + stepped > 0 then store(KEYS[1], ttl_ms, state) end
return answer

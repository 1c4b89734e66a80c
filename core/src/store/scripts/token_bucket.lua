-- GCRA: the debt is how far its theoretical arrival time lies ahead of the last seen time, in ticks, of which a
-- permit takes `per_permit` and a microsecond pays `per_us`: whole numbers, so nothing is ever rounded.
-- State: last seen time, debt. Answer: admitted, now, debt, stepped.
local op, ttl_ms, capacity, per_us, horizon, ticks, charged_at = ARGV[1], ARGV[2], tonumber(ARGV[3]),
  tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local state = recall(KEYS[1])
local now, stepped = clock(state[1], horizon)
local debt = state[2] or 0
if state[1] and stepped == 0 then
  local elapsed = now - state[1]
  debt = elapsed < horizon and math.max(0, debt - elapsed * per_us) or 0
end

local admitted = 0
if op == 'refund' then
  -- What has been paid off since is not given back: without the charge, that time may have paid nothing.
  local elapsed = now - charged_at
  if elapsed >= 0 and elapsed < horizon and ticks > elapsed * per_us then
    admitted, debt = 1, math.max(0, debt - (ticks - elapsed * per_us))
  end
elseif debt + ticks <= capacity then
  admitted, debt = 1, debt + ticks
end
if admitted + stepped > 0 then store(KEYS[1], ttl_ms, {now, debt}) end
return {admitted, now, debt, stepped}

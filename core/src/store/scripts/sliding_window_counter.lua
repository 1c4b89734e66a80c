-- Two windows, the earlier one weighed by how much of it the sliding window still covers, in grains of time.
-- State: last seen time, window, used in the window before, used in it. Answer: admitted, now, before, used, stepped.
local op, ttl_ms, requests, window, grain, cost, charged_at = ARGV[1], ARGV[2], tonumber(ARGV[3]),
  tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local state = recall(KEYS[1])
local now, stepped = clock(state[1], 2 * window)
local index = math.floor(now / window)
local before, used = state[3] or 0, state[4] or 0
if stepped == 0 and state[2] ~= index then
  before = state[2] == index - 1 and used or 0
  used = 0
end

local admitted = 0
local whole, covered = window / grain, math.ceil((window - now % window) / grain)
if op == 'refund' then
  local charged_in = math.floor(charged_at / window)
  if charged_at <= now and charged_in == index then
    admitted, used = 1, math.max(0, used - cost)
  elseif charged_at <= now and charged_in == index - 1 then
    admitted, before = 1, math.max(0, before - cost)
  end
elseif before * covered + (used + cost) * whole <= requests * whole then
  admitted, used = 1, used + cost
end
if admitted + stepped > 0 then store(KEYS[1], ttl_ms, {now, index, before, used}) end
return {admitted, now, before, used, stepped}

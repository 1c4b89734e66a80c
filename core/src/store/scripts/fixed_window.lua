-- State: last seen time, window, used. Answer: admitted, now, used, stepped.
local op, ttl_ms, requests, window, cost, charged_at =
  ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local state = recall(KEYS[1])
local now, stepped = clock(state[1], window)
local index = math.floor(now / window)
local used = state[3] or 0
if stepped == 0 and state[2] ~= index then used = 0 end

local admitted = 0
if op == 'refund' then
  if charged_at <= now and math.floor(charged_at / window) == index then
    admitted, used = 1, math.max(0, used - cost)
  end
elseif used + cost <= requests then
  admitted, used = 1, used + cost
end
if admitted + stepped > 0 then store(KEYS[1], ttl_ms, {now, index, used}) end
return {admitted, now, used, stepped}

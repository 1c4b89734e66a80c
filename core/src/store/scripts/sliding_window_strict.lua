-- Sub-buckets at full weight: the window and one bucket more, so that never more than `requests` are in any window.
-- State: last seen time, then bucket and used for each, oldest first. Answer: admitted, now, stepped, then as stored.
local op, ttl_ms, requests, width, buckets, cost, charged_at = ARGV[1], ARGV[2], tonumber(ARGV[3]),
  tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local state = recall(KEYS[1])
local now, stepped = clock(state[1], (buckets + 1) * width)
local index = math.floor(now / width)
local kept, total = {now}, 0
for i = 2, #state, 2 do
  local bucket, used = state[i], state[i + 1]
  if used > 0 and (stepped == 1 or bucket >= index - buckets) then
    total = total + used
    kept[#kept + 1] = bucket
    kept[#kept + 1] = used
  end
end
if stepped == 1 and total > 0 then kept = {now, index, total} end

local admitted = 0
if op == 'refund' then
  for i = 2, #kept, 2 do
    if charged_at <= now and kept[i] == math.floor(charged_at / width) then
      admitted, kept[i + 1] = 1, math.max(0, kept[i + 1] - cost)
    end
  end
elseif total + cost <= requests then
  admitted = 1
  if kept[#kept - 1] ~= index or #kept == 1 then
    kept[#kept + 1] = index
    kept[#kept + 1] = 0
  end
  kept[#kept] = kept[#kept] + cost
end
local answer = {admitted, now, stepped}
for i = 2, #kept do answer[i + 2] = kept[i] end
if admitted + stepped > 0 then store(KEYS[1], ttl_ms, kept) end
return answer

-- One member a permit, scored by its time; the number in a member tells those of one microsecond apart.
-- Answer: admitted, now, used, the newest time, the time whose leaving makes room (0 if there was), stepped.
local op, ttl_ms, requests, window, cost, charged_at =
  ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local key = KEYS[1]
local newest = tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])
local now, stepped = clock(newest, window)

local function record(first, count)
  local members, score = {}, digits(now)
  for i = first, first + count - 1 do
    members[#members + 1] = score
    members[#members + 1] = score .. string.format(':%04d', i)
  end
  redis.call('ZADD', key, unpack(members))
  redis.call('PEXPIRE', key, life_ms(ttl_ms, now))
end

if stepped == 1 then
  local count = redis.call('ZCARD', key)
  redis.call('DEL', key)
  record(0, count)
  newest = now
end
redis.call('ZREMRANGEBYSCORE', key, '-inf', digits(now - window))
local used = redis.call('ZCARD', key)
if used == 0 then newest = 0 end

if op == 'refund' then
  local score = digits(charged_at)
  local members = redis.call('ZRANGEBYSCORE', key, score, score)
  local last = #members
  for i = last, math.max(1, last - cost + 1), -1 do redis.call('ZREM', key, members[i]) end
  return {last > 0 and 1 or 0, now, used - math.min(last, cost), newest, 0, stepped}
end
if used + cost > requests then
  local leaving = redis.call('ZRANGE', key, used + cost - requests - 1, used + cost - requests - 1, 'WITHSCORES')
  return {0, now, used, newest, tonumber(leaving[2]), stepped}
end
record(newest == now and redis.call('ZCOUNT', key, digits(now), digits(now)) or 0, cost)
return {1, now, used + cost, now, 0, stepped}

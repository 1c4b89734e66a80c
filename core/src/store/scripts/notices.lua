-- What nodes tell each other: a sorted set of notices by when they arrived. ARGV: how long the set is kept at least, the last
-- arrival the node knows, how many it takes, then for each notice of its own how long it lives (µs) and its text.
-- Answer: now, the last arrival told, then for each notice what is left of its life and its text.
local ttl_ms, seen, most = ARGV[1], tonumber(ARGV[2]), ARGV[3]

-- Notices kept; the oldest are forgotten first.
local KEPT_MAX = 10000

local newest = tonumber(redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2])
local now, stepped = clock(newest, ttl_ms * 1000)
if stepped == 1 then
  redis.call('DEL', KEYS[1])
  newest = nil
end
local last = newest or 0
if #ARGV > 3 then
  for i = 4, #ARGV, 2 do
    last = math.max(now, last + 1)
    redis.call('ZADD', KEYS[1], digits(last), digits(now + ARGV[i]) .. ' ' .. ARGV[i + 1])
  end
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -KEPT_MAX - 1)
  local life = tonumber(life_ms(ttl_ms, last))
  if redis.call('PTTL', KEYS[1]) < life then redis.call('PEXPIRE', KEYS[1], digits(life)) end
end

-- A node that has seen more than there is lost its place with the set's data, and hears everything again.
if seen > last then seen = 0 end
local answer = {now, last}
local told = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. digits(seen), '+inf', 'WITHSCORES', 'LIMIT', '0', most)
for i = 1, #told, 2 do
  local till, text = string.match(told[i], '^(%d+) (.*)$')
  answer[2] = tonumber(told[i + 1])
  if tonumber(till) > now then
    answer[#answer + 1] = tonumber(till) - now
    answer[#answer + 1] = text
  end
end
return answer

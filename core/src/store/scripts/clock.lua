-- Every script begins with this text. Redis' own clock is the only one: nodes' clocks never meet in a decision.
local time = redis.call('TIME')
local wall = time[1] * 1000000 + time[2]

-- `now` never falls behind `last`, or a clock that is set back would open a window twice. A step back beyond the
-- horizon would freeze the state instead: there the clock starts anew, and what was used stays used.
local function clock(last, horizon)
  if not last or wall >= last then return wall, 0 end
  if last - wall > horizon then return wall, 1 end
  return last, 0
end

-- A state is one string of decimal numbers: with `SET … PX` it costs two commands where a hash costs three.
local function recall(key)
  local numbers = {}
  for digits in string.gmatch(redis.call('GET', key) or '', '%d+') do
    numbers[#numbers + 1] = tonumber(digits)
  end
  return numbers
end

local function digits(number)
  return string.format('%.0f', number)
end

-- What a key is given to live, counted from `now`: a clock that was set back would else outlive the state.
local function life_ms(ttl_ms, now)
  return digits(ttl_ms + math.ceil((now - wall) / 1000))
end

-- The first of the numbers is `now`.
local function store(key, ttl_ms, numbers)
  local life = life_ms(ttl_ms, numbers[1])
  for i = 1, #numbers do numbers[i] = digits(numbers[i]) end
  redis.call('SET', key, table.concat(numbers, ' '), 'PX', life)
end


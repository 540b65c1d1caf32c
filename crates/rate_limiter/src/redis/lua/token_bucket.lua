-- Token bucket, GCRA and leaky bucket (algorithm 1), leaky bucket as a queue (algorithm 2): bucket.rs.
--
-- ARGV   burst in tokens; units in a token; units that flow in each tick; microseconds in a tick; ticks in the period
-- state  "1b", 8 bytes: when the bucket is whole, 8 bytes: units by which the inflow until then is too much
local burst, scale, inflow, tick = ARGV[i + 1] + 0, ARGV[i + 2] + 0, ARGV[i + 3] + 0, ARGV[i + 4] + 0
if cost > burst and (op == TAKE or op == PEEK) then
  status, left = NEVER, burst
elseif value or op ~= REFUND then
  local capacity = burst * scale
  local at = floor(now / tick)
  -- Microseconds of this tick that are over.
  local over = now - at * tick
  -- Units that the bucket misses, and ticks in which nothing flows.
  local missing, ahead, changed = 0, 0, false
  if value then
    local high, low, spare = read('>I4I4I8', value, place)
    local ticks
    if high < 2097152 then
      ticks = ceil((high * 4294967296 + low) / tick) - at
    else
      -- Of 64 bits, which only slow quotas with large bursts need: the ticks until then, rounded up. Should they not
      -- be exact, they are more than any bucket takes to fill.
      local begins = at * tick
      high, low = high - floor(begins / 4294967296), low - begins % 4294967296
      if low < 0 then
        high, low = high - 1, low + 4294967296
      end
      local rest = 0
      ticks = 0
      for n = 7, 0, -1 do
        local half = n > 3 and high or low
        rest = rest * 256 + floor(half / 256 ^ (n % 4)) % 256
        local digit = floor(rest / tick)
        ticks, rest = ticks * 256 + digit, rest - digit * tick
      end
      ticks = rest > 0 and ticks + 1 or ticks
    end
    if ticks > 0 then
      local fill = ceil(capacity / inflow)
      if ticks <= fill then
        -- A spare from another quota may exceed this one's tick: it is not trusted then.
        missing = min(ticks * inflow - (spare < inflow and spare or 0), capacity)
      else
        -- A moment ahead, a call with a later reading of the clock came first: nothing flows until then. Further
        -- ahead, the clock was set back, or the quota has changed: the bucket is empty now.
        missing, ahead = capacity, ticks - fill
        if ahead > ARGV[i + 5] + 0 then
          ahead, changed = 0, true
        end
      end
    end
  end
  if op == REFUND then
    status, changed = REFUNDED, true
    -- What has flowed in since is not given back.
    local since, fill = max(at - floor(ARGV[4] / tick), 0), ceil(capacity / inflow)
    local flowed = since < fill and since * inflow or capacity
    missing = max(missing - max(min(cost, burst) * scale - flowed, 0), 0)
  elseif op ~= MEND then
    if op == UP_TO then
      -- At least one is asked for, so that there is a time to come back.
      cost = max(1, min(cost, floor((capacity - missing) / scale)))
    end
    local room = capacity - cost * scale
    if ahead > 0 or missing > room then
      status, left = DENIED, min((ahead + ceil((missing - room) / inflow)) * tick - over, EXACT)
    else
      if missing > 0 and ARGV[i] == '2' then
        -- Everything that is in the queue leaves first.
        delay = min(ceil(missing / inflow) * tick - over, EXACT)
      end
      missing, changed = missing + cost * scale, true
      status, left = ALLOWED, floor((capacity - missing) / scale)
    end
  end
  if changed then
    local fill = ceil(missing / inflow)
    local spare = fill * inflow - missing
    fill = fill + ahead
    if fill == 0 then
      state = false
    else
      micros = fill * tick - over
      reset = min(micros, EXACT)
      local whole = now + micros
      if whole < EXACT then
        state = write('>I2I8I8', 12642, whole, spare)
      else
        -- The same in 64 bits.
        local high, low, carry, begins = 0, 0, 0, at * tick
        for n = 0, 7 do
          carry = carry + fill % 256 * tick + begins % 256
          fill, begins = floor(fill / 256), floor(begins / 256)
          if n < 4 then
            low = low + carry % 256 * 256 ^ n
          else
            high = high + carry % 256 * 256 ^ (n - 4)
          end
          carry = floor(carry / 256)
        end
        state = write('>I2I4I4I8', 12642, high, low, spare)
      end
    end
  end
end

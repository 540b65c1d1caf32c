-- How a sliding window log is read: what it has read already is in `front`, the beginning of the value of the key.
local HEADER, ENTRY, SHORT, WRAP = 38, 8, 64, 281474976710656
local front = ''

-- Entries in hand: their bytes, the number of the first, and that after the last; and how many to read next.
local hand, hand_from, hand_to, reach = '', 0, 0, 4

-- When entry `n` of a log was made, counted from the oldest, and its tokens. More are read at a time the longer it
-- goes on.
local function entry(n, ring, first, count, places, last)
  local place = (first + n) % places
  local from = ring + place * 8
  local at, tokens
  if from + 8 <= #front then
    at, tokens = struct.unpack('>I6I2', front, from + 1)
  else
    if n >= hand_to or n < hand_from then
      local many = math.min(reach, count - n, places - place)
      hand = redis.call('GETRANGE', KEYS[1], from, from + many * 8 - 1)
      hand_from, hand_to, reach = n, n + many, math.min(reach * 4, 512)
    end
    at, tokens = struct.unpack('>I6I2', hand, (n - hand_from) * 8 + 1)
  end
  -- Modulo 2^48.
  return last - (last - at) % 281474976710656, tokens + 1
end

-- The bytes from one place of the value up to before another.
local function bytes(from, to)
  if to <= #front then
    return string.sub(front, from + 1, to)
  end
  local got = redis.call('GETRANGE', KEYS[1], from, to - 1)
  if #got < to - from then
    error({ err = 'RLCORRUPT the value of the key is cut short' })
  end
  return got
end

-- The bytes of all entries from `n` on.
local function rest(n, ring, first, count, places)
  if n >= count then
    return ''
  end
  local from, to = (first + n) % places, (first + count - 1) % places + 1
  if from < to then
    return bytes(ring + from * 8, ring + to * 8)
  end
  return bytes(ring + from * 8, ring + places * 8) .. bytes(ring, ring + to * 8)
end


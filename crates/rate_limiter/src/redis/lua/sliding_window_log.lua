-- Sliding window log (algorithm 5): sliding_window_log.rs.
--
-- ARGV   tokens; the period
-- state  "1l", 8 bytes: tokens in the log, 8 bytes: when the last entry was made, 4 bytes each: the place of the oldest
--        entry, the number of entries, the number of places; then the oldest entry, and all of them, in a ring
-- entry  6 bytes: when, modulo 2^48, which is 4 times as long as a log can be, 2 bytes: tokens - 1
--
-- A log of a few entries has as many places and is rewritten as a whole. In a longer one, a request writes a place
-- and the numbers in front: what it costs does not depend on the length.
--
-- The ring of `value` begins behind `ring` bytes. `state` is the numbers in front of it; `all` the ring anew, or else
-- `made` what is to be written behind `slot` places of it. Without `micros`, the key is kept for as long as it is.
local tokens, period = ARGV[i + 1] + 0, ARGV[i + 2] + 0
if cost > tokens and (op == TAKE or op == PEEK) then
  status, left = NEVER, tokens
elseif value or op ~= REFUND then
  local taken, last, first, count, places, at, had = 0, 0, 0, 0, 0, 0, 0
  if value then
    taken, last, first, count, places, at, had = read('>I8I8I4I4I4I6I2', value, place)
    at, had = last - (last - at) % WRAP, had + 1
  end
  hand_to, reach = 0, 4
  -- What the window covers no longer has been given back already.
  local taken_at, due = 0, 0
  if op == REFUND then
    taken_at = ARGV[4] + 0
    due = taken_at + period > now and cost or 0
  end

  -- All entries, where they are to be rewritten.
  local entries
  local set_back = op ~= REFUND and last > now + period
  if due > 0 or set_back then
    local parts, newest, n = {}, 0, 0
    hand, hand_from, hand_to = rest(0, ring, first, count, places), 0, count
    while n < count do
      local made, held = read('>I6I2', hand, n * ENTRY + 1)
      made, held, n = last - (last - made) % WRAP, held + 1, n + 1
      if set_back then
        -- From before the clock was set back: it counts from now on.
        made = min(made, now)
      elseif due > 0 and made >= taken_at then
        -- Of an entry that holds what is given back: its own, or a later one it was counted with.
        local given = min(due, held)
        due, held, taken = due - given, held - given, taken - given
      end
      if held > 0 then
        parts[#parts + 1], newest = write('>I6I2', made % WRAP, held - 1), made
      end
    end
    if set_back or due < cost then
      entries, last, at = table.concat(parts), newest, min(at, now)
      if entries == '' or newest + period <= now then
        entries, state = nil, false
      end
    end
  end

  if op == REFUND then
    status = REFUNDED
  elseif op ~= MEND then
    -- Entries that the window covers no longer.
    local old, covered = 0, taken
    while old < count and at + period <= now do
      covered, old = covered - had, old + 1
      if old < count then
        if entries then
          at, had = read('>I6I2', entries, old * ENTRY + 1)
          at, had = last - (last - at) % WRAP, had + 1
        else
          at, had = entry(old, ring, first, count, places, last)
        end
      end
    end
    if op == UP_TO then
      cost = max(1, min(cost, tokens - covered))
    end
    local excess = covered + cost - tokens
    if excess > 0 then
      local leaves, n, oldest, held = now, old, at, had
      while excess > 0 and n < count do
        leaves, excess, n = oldest + period, excess - held, n + 1
        if excess > 0 and n < count then
          if entries then
            oldest, held = read('>I6I2', entries, n * ENTRY + 1)
            oldest, held = last - (last - oldest) % WRAP, held + 1
          else
            oldest, held = entry(n, ring, first, count, places, last)
          end
        end
      end
      status, left = DENIED, leaves - now
      if old >= SHORT and not entries then
        -- Passed over once, and not again by each denial.
        state = write('>I2I8I8I4I4I4I6I2', 12652, covered, last, (first + old) % places, count - old, places,
          at % WRAP, had - 1)
      end
    else
      -- A call with an earlier reading of the clock is counted with the last entry, so that the log stays in order.
      last, taken = max(now, last), covered + cost
      status, left, micros = ALLOWED, tokens - taken, last + period - now
      reset = micros
      local live, stamp, more = count - old, last % WRAP, cost
      made = ''
      while more > 65536 do
        made, more = made .. write('>I6I2', stamp, 65535), more - 65536
      end
      made = made .. write('>I6I2', stamp, more - 1)
      more = #made / ENTRY
      slot = places > SHORT and (first + count) % places or 0
      if not entries and live > 0 and live + more > SHORT / 2 and live + more <= places and slot + more <= places
        and places > SHORT then
        state = write('>I2I8I8I4I4I4I6I2', 12652, taken, last, (first + old) % places, live + more, places, at % WRAP,
          had - 1)
      else
        entries = (entries and string.sub(entries, old * ENTRY + 1) or rest(old, ring, first, count, places)) .. made
        made = nil
      end
    end
  end

  if entries then
    local length = #entries / ENTRY
    if length <= SHORT then
      places = length
    elseif length > places then
      places = max(length, min(2 * length, tokens))
    end
    micros = last + period - now
    state = write('>I2I8I8I4I4I4', 12652, taken, last, 0, length, places) .. string.sub(entries, 1, ENTRY)
    all = entries .. string.rep('\0', (places - length) * ENTRY)
  end
end

-- Sliding window counter (algorithm 4): sliding_window_counter.rs.
--
-- ARGV   tokens; ticks in the period; microseconds in a tick
-- state  "1c", 8 bytes: the end of the later window, 4 bytes: tokens taken in the earlier, 4 bytes: in the later
local tokens, ticks, tick = ARGV[i + 1] + 0, ARGV[i + 2] + 0, ARGV[i + 3] + 0
if cost > tokens and (op == TAKE or op == PEEK) then
  status, left = NEVER, tokens
elseif value or op ~= REFUND then
  local period = ticks * tick
  local ends = now - now % period + period
  local before, taken, changed = 0, 0, false
  if value then
    local was, earlier, later = read('>I8I4I4', value, place)
    if now < was then
      -- As in a fixed window.
      before, taken = earlier, later
      if was > ends then
        if was - ends <= period then
          ends = was
        else
          changed = true
        end
      end
    elseif now - was < period then
      before = later
    end
  end
  if op == REFUND then
    status, changed = REFUNDED, true
    local begins, taken_at = ends - period, ARGV[4] + 0
    if taken_at >= begins then
      taken = max(taken - cost, 0)
    elseif taken_at + period >= begins then
      before = max(before - cost, 0)
    end
  elseif op ~= MEND then
    -- Tokens times ticks of the earlier window that are still covered; what exceeds 2^53 exceeds any room.
    local covered = before * min(ceil((ends - now) / tick), ticks)
    if op == UP_TO then
      cost = max(1, min(cost, floor(((tokens - taken) * ticks - covered) / ticks)))
    end
    local room = tokens - taken - cost
    if room < 0 or covered > room * ticks then
      -- The earlier window leaves the trailing one tick by tick, then the later.
      local leaves, held = ends, before
      if room < 0 then
        leaves, room, held = ends + period, tokens - cost, taken
      end
      leaves = leaves - (held > 0 and min(floor(room * ticks / held), ticks) * tick or period)
      status, left = DENIED, max(leaves - now, 0)
    else
      taken, changed = taken + cost, true
      status, left = ALLOWED, floor((room * ticks - covered) / ticks)
    end
  end
  if changed then
    micros = ends + period - now
    reset, state = micros, write('>I2I8I4I4', 12643, ends, before, taken)
  end
end

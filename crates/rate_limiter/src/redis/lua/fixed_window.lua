-- Fixed window (algorithm 3): fixed_window.rs.
--
-- ARGV   tokens; the period
-- state  "1f", 8 bytes: the end of the last window that was asked for, 8 bytes: tokens taken in it
local tokens, period = ARGV[i + 1] + 0, ARGV[i + 2] + 0
if cost > tokens and (op == TAKE or op == PEEK) then
  status, left = NEVER, tokens
elseif value or op ~= REFUND then
  local ends = now - now % period + period
  local taken, changed = 0, false
  if value then
    local was, count = read('>I8I8', value, place)
    if now < was then
      -- The same window; or a later one, because a call with a later reading of the clock came first. Further
      -- ahead, the clock was set back: what was taken counts for the window of now.
      taken = count
      if was > ends then
        if was - ends <= period then
          ends = was
        else
          changed = true
        end
      end
    end
  end
  if op == REFUND then
    status = REFUNDED
    -- What was taken in an earlier window is forgotten already.
    changed = ARGV[4] + period >= ends
    taken = max(taken - cost, 0)
  elseif op ~= MEND then
    if op == UP_TO then
      cost = max(1, min(cost, tokens - taken))
    end
    if taken + cost > tokens then
      status, left = DENIED, ends - now
    else
      taken, changed = taken + cost, true
      status, left = ALLOWED, tokens - taken
    end
  end
  if changed then
    micros = ends - now
    reset, state = micros, write('>I2I8I8', 12646, ends, taken)
  end
end

-- The decision of a limit of several parts: it takes from all of them, or from none.
--
-- state  "1a", 1 byte: how many parts, and for each, its own state, without the ring of a log, or "1n" where it has none;
--        then the rings, in the same order
local RULES = { token_bucket, token_bucket, fixed_window, sliding_window_counter, sliding_window_log }
local LETTERS, NUMBERS = { 98, 98, 102, 99, 108 }, { 6, 6, 3, 4, 3 }
local LOG, NONE, byte, sub = 108, '1n', string.byte, string.sub

-- Of each part: where its numbers begin in ARGV, and its algorithm.
local parts, first_of, algorithm_of = 0, {}, {}
local first = 5
while ARGV[first] do
  parts = parts + 1
  local algorithm = ARGV[first] + 0
  first_of[parts], algorithm_of[parts] = first, algorithm
  first = first + NUMBERS[algorithm]
end

front = call('GETRANGE', key, 0, max(1023, 3 + parts * HEADER))
local known = front ~= ''
if not known then
  known = call('EXISTS', key) == 1 and stranger(front)
elseif #front < 3 or read('>I2', front) ~= 12641 then
  known = stranger(front, 97)
elseif byte(front, 3) ~= parts then
  known = false
end

-- Of each part, as it was: where its state begins in `front`, and the letter of that; of a log its ring in the value of
-- the key, and the length of that.
local begin_of, letter_of, ring_of, length_of = {}, {}, {}, {}
if known then
  local place, logs = 4, false
  for part = 1, parts do
    local version, letter = byte(front, place, place + 1)
    begin_of[part], letter_of[part], logs = place, letter, logs or letter == LOG
    place = place + (letter == LOG and HEADER or letter == 110 and 2 or 18)
    if version ~= 49 or #front < place - 1 then
      stranger('1')
    end
  end
  begin_of[parts + 1] = place
  local ring = place - 1
  for part = 1, logs and parts or 0 do
    if letter_of[part] == LOG then
      ring_of[part], length_of[part] = ring, read('>I4', front, begin_of[part] + 26) * ENTRY
      ring = ring + length_of[part]
    end
  end
end

local function decide(part, what, tokens)
  local algorithm = algorithm_of[part]
  local own = letter_of[part] == LETTERS[algorithm]
  return RULES[algorithm](first_of[part], what, tokens, own and front, own and begin_of[part] + 2, ring_of[part])
end

local what = op
if op == UP_TO then
  what = TAKE
  for part = 1, parts do
    local _, at_most = decide(part, UP_TO, cost)
    cost = at_most
  end
end

-- Of each part: what it decides alone, its new state, and of a log its new ring, or the place in it and what to write.
local status_of, new_of, all_of, slot_of, made_of = {}, {}, {}, {}, {}
local status, left, reset, delay, lasts, changed = ALLOWED, EXACT, 0, 0, 0, false
for part = 1, parts do
  local own, _, own_left, own_reset, own_delay, state, micros, all, slot, made = decide(part, what, cost)
  status_of[part] = own
  if state ~= nil then
    changed, new_of[part] = true, state
    if all then
      all_of[part] = all
    elseif made then
      slot_of[part], made_of[part] = slot, made
    end
  end
  if own == ALLOWED then
    if status == ALLOWED then
      left, reset, delay = min(left, own_left), max(reset, own_reset), max(delay, own_delay)
      lasts = max(lasts, micros)
    end
  elseif own == NEVER then
    left = status == NEVER and min(left, own_left) or own_left
    status = NEVER
  elseif own == REFUNDED then
    status = REFUNDED
  elseif status ~= NEVER then
    left = status == DENIED and max(left, own_left) or own_left
    status = DENIED
  end
end

if status == DENIED and op ~= PEEK then
  -- A part that would allow it takes nothing; yet what is from before the clock was set back is mended.
  changed = false
  for part = 1, parts do
    if status_of[part] == ALLOWED then
      local _, _, _, _, _, state, _, all = decide(part, MEND, cost)
      new_of[part], all_of[part], made_of[part] = state, all, nil
    end
    changed = changed or new_of[part] ~= nil
  end
end

if changed and op ~= PEEK and status ~= NEVER then
  -- Rounded up, twice where it is not exact: a key is never forgotten early.
  local kept = ceil(lasts / 1000) + (lasts < EXACT and 0 or 2) + outlive
  local states, some, logs, same = { '1a' .. string.char(parts) }, false, false, known
  for part = 1, parts do
    local state = new_of[part]
    if state == nil then
      state = known and sub(front, begin_of[part], begin_of[part + 1] - 1) or NONE
    elseif not state then
      state = NONE
    end
    local letter = byte(state, 2)
    some, logs = some or state ~= NONE, logs or letter == LOG
    same = same and letter == letter_of[part] and not all_of[part]
    states[part + 1] = state
  end
  if not some then
    call('DEL', key)
  elseif logs and same then
    for part = 1, parts do
      if made_of[part] then
        call('SETRANGE', key, ring_of[part] + slot_of[part] * ENTRY, made_of[part])
      end
    end
    call('SETRANGE', key, 0, table.concat(states))
    if status == ALLOWED then
      call('PEXPIRE', key, kept)
    end
  else
    for part = 1, logs and parts or 0 do
      if byte(states[part + 1], 2) == LOG then
        local ring, made = all_of[part], made_of[part]
        if not ring then
          ring = bytes(ring_of[part], ring_of[part] + length_of[part])
          if made then
            local at = slot_of[part] * ENTRY
            ring = sub(ring, 1, at) .. made .. sub(ring, at + #made + 1)
          end
        end
        states[#states + 1] = ring
      end
    end
    if status == ALLOWED then
      call('SET', key, table.concat(states), 'PX', kept)
    else
      -- Nothing is fresh later than it was.
      call('SET', key, table.concat(states), 'KEEPTTL')
    end
  end
end

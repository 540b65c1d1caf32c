-- The state of a limit of one part that is a log, and its ring if that is short.
local i, place, status, left, reset, delay, state, micros = 5, 3, REFUNDED, 0, 0, 0, nil, nil
local ring, all, slot, made = HEADER, nil, nil, nil
front = call('GETRANGE', key, 0, HEADER + SHORT * ENTRY - 1)
local value = front
if front == '' then
  value = call('EXISTS', key) == 1 and stranger(front)
elseif not (#front >= HEADER and read('>I2', front) == 12652) then
  value = stranger(front, 108)
end


-- The state of a limit of one part, if that has 18 bytes.
local i, place, status, left, reset, delay, state, micros = 5, 3, REFUNDED, 0, 0, 0, nil, nil
local value = call('GET', key)
if value and not (#value == 18 and read('>I2', value) == head) then
  value = stranger(value, head % 256)
end


-- Adds keys to the filter that serves and to the one that is built, and remembers them for a while.
--
-- KEYS  1 the head  2 the table that serves  3 the table that is built; the head, where there is none
--       4 5 the keys of this window of time and of the one before it, in turn
-- ARGV  1 the head that the caller knows  2 1: make it where there is none
--       3 how long a window is, in milliseconds  4 how many bytes it may have  5 the hashes, of 8 bytes each
--       6 7 how many bytes the tables have  8 9 how many words of BITFIELD follow for each; these
-- reply 1  -1 too many, nothing was changed  the head, if it is another; nothing was changed
local call = redis.call
local head = call('GET', KEYS[1])
if head ~= ARGV[1] and (head or ARGV[2] ~= '1') then
  return head or ''
end

local time = call('TIME')
local window = math.floor((time[1] * 1000 + math.floor(time[2] / 1000)) / ARGV[3])
local recent = KEYS[4 + window % 2]
local mark = call('GETRANGE', recent, 0, 7)
-- After a clock was set back, the mark may be ahead: the keys stay.
local goes_on = #mark == 8 and struct.unpack('>I8', mark) >= window
if (goes_on and call('STRLEN', recent) or 8) + #ARGV[5] > ARGV[4] + 0 then
  return -1
end

if not head then
  call('SET', KEYS[1], ARGV[1])
end
if goes_on then
  call('APPEND', recent, ARGV[5])
else
  call('SET', recent, struct.pack('>I8', window) .. ARGV[5], 'PX', 2 * ARGV[3])
end
local at = 10
for table = 2, 3 do
  local words = ARGV[6 + table] + 0
  -- A table that was lost stays lost: a part of it would deny keys.
  if words > 0 and call('STRLEN', KEYS[table]) == ARGV[4 + table] + 0 then
    call('BITFIELD', KEYS[table], unpack(ARGV, at, at + words - 1))
  end
  at = at + words
end
return 1

-- Adds a piece of a table to the one that is built.
--
-- KEYS  1 the head  2 the table that is built  3 4 for use in between
-- ARGV  1 the head that the caller knows  2 how many bytes the table has  3 where the piece begins  4 the piece
-- reply 1  0 the head is another  -1 the table was lost
local call = redis.call
if call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if call('STRLEN', KEYS[2]) ~= ARGV[2] + 0 then
  return -1
end
local piece, first = ARGV[4], ARGV[3] + 0
local last = first + #piece - 1
-- Keys that were announced meanwhile are in it already.
if call('BITCOUNT', KEYS[2], first, last) > 0 then
  call('SET', KEYS[3], piece)
  call('SET', KEYS[4], call('GETRANGE', KEYS[2], first, last))
  call('BITOP', 'OR', KEYS[3], KEYS[3], KEYS[4])
  piece = call('GET', KEYS[3])
  call('DEL', KEYS[3], KEYS[4])
end
call('SETRANGE', KEYS[2], first, piece)
return 1

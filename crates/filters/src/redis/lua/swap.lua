-- Puts the table that was built in the place of the one that serves. It has another name from then on: should a failover
-- take this step back, nobody takes the unfinished table for a finished one.
--
-- KEYS  1 the head  2 the table that serves; the head, where there is none  3 the table that was built  4 its new name
-- ARGV  1 the head that the caller knows  2 the new head  3 how many bytes the table has
-- reply 1  0 the head is another  -1 the table was lost
local call = redis.call
if call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if call('STRLEN', KEYS[3]) ~= ARGV[3] + 0 then
  return -1
end
call('SET', KEYS[1], ARGV[2])
call('RENAME', KEYS[3], KEYS[4])
if KEYS[2] ~= KEYS[1] then
  call('UNLINK', KEYS[2])
end
return 1

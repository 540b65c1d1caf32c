-- Begins to build a filter, and gives the keys that were announced lately.
--
-- KEYS  1 the head  2 the table of a rebuild that died; the head, where there is none  3 the new table
--       4 5 the keys of the last windows of time
-- ARGV  1 the head that the caller knows; empty: none  2 the new head  3 how many bytes the table has
-- reply the keys of the windows  the head, if it is another; nothing was changed
local call = redis.call
local head = call('GET', KEYS[1]) or ''
if head ~= ARGV[1] then
  return head
end
if KEYS[2] ~= KEYS[1] then
  call('UNLINK', KEYS[2])
end
call('SETRANGE', KEYS[3], ARGV[3] - 1, '\0')
call('SET', KEYS[1], ARGV[2])
return { call('GET', KEYS[4]) or '', call('GET', KEYS[5]) or '' }

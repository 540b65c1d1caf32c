-- Ends a rebuild that failed.
--
-- KEYS  1 the head  2 the table that was being built
-- ARGV  1 the head that the caller knows  2 the new head
-- reply 1  0 the head is another
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('UNLINK', KEYS[2])
return 1

-- Gives up the right to rebuild.
--
-- KEYS  1 the lock
-- ARGV  1 who holds it
-- reply 1  0 somebody else does
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('UNLINK', KEYS[1])
return 1

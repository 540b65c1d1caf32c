-- Takes the right to rebuild, or holds on to it.
--
-- KEYS  1 the lock
-- ARGV  1 who wants it  2 for how many milliseconds
-- reply 0 held by the caller  else for how many milliseconds another holds it
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return math.max(redis.call('PTTL', KEYS[1]), 1)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0

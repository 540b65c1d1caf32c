-- Gives up a lease, if it still is the caller's.
--
-- ARGV  2 the token
if token == ARGV[2] then
  if there or floored then
    call('SETRANGE', key, 40, NOBODY)
  else
    call('DEL', key)
  end
end
return 0

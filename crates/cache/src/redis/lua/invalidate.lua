-- Forgets the content, revokes the lease, leaves a floor, and tells who listens.
--
-- ARGV  2 the floor  3 how long it is to hold  4 the channel; empty: nobody is told  5 how many bytes of the key are the
--       prefix of the cache
local floor, ends = ARGV[2] + 0, now + ARGV[3]
if floored then
  floor, ends = max(floor, version), max(ends, till)
elseif there then
  -- The write may be older than what was filled since: what is older than that stays refused.
  floor = max(floor, version - 1)
end
-- First, so that who may not publish changes nothing. Nobody reads in between.
if ARGV[4] ~= '' then
  call('PUBLISH', ARGV[4], write('>BI8', 1, floor) .. string.sub(key, ARGV[5] + 1))
end
if ends > now then
  local set = try('SET', key, bare(floor, ends, 0, NOBODY), 'PX', ends - now + outlive)
  -- A server without memory for a floor must not go on serving the content: then it is as if the floor was evicted.
  if set.err then
    call('DEL', key)
  end
else
  call('DEL', key)
end
return 0

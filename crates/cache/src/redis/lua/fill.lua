-- Stores what was loaded under a lease that still holds, if it is strictly newer than the floor.
--
-- ARGV  2 the token  3 what it is: 1 a value, 2 that there is none  4 how long the load took  5 its version
--       6 how long it is fresh  7 how long it is kept  8 the fingerprint of the codec  9 the payload
-- reply 0 stored  1 revoked  2 older  3 a tie
if token ~= ARGV[2] or now >= leased then
  return 1
end
local new = ARGV[5] + 0
local refusal
if floored and new <= version then
  refusal = (new == version or ARGV[3] == '2') and 3 or 2
elseif there and new < version then
  refusal = 2
end
if refusal then
  call('SETRANGE', key, 40, NOBODY)
  return refusal
end
local ends = now + ARGV[7]
local head = write('>BBBxI4I8I8I8I8', 193, 1, ARGV[3] + 0, ARGV[4] + 0, new, now + ARGV[6], ends, 0)
keep(head .. NOBODY .. ARGV[8] .. ARGV[9], ends)
return 0

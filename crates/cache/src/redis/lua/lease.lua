-- Asks to fill.
--
-- ARGV  2 the token  3 how long the lease is to hold, in milliseconds  4 until when the content that is to be replaced is
--       fresh; -1: there is none  5 the fingerprint of the caller's codec
-- reply {0, now, for_ms} someone else loads  {1, now} granted  {2, now, value} someone else has loaded
if there and print == ARGV[5] and till ~= ARGV[4] + 0 then
  return { 2, now, call('GET', key) }
end
if token ~= NOBODY and now < leased then
  return { 0, now, leased - now }
end
local ends = now + ARGV[3]
if there then
  -- In place: the payload is neither copied nor sent to replicas, and the key keeps its time to live.
  call('SETRANGE', key, 32, write('>I8', ends) .. ARGV[2])
  if ends > max(expires, leased) then
    call('PEXPIRE', key, ends - now + outlive)
  end
elseif floored then
  keep(bare(version, till, ends, ARGV[2]), max(till, ends))
else
  keep(bare(0, 0, ends, ARGV[2]), ends)
end
return { 1, now }

-- Stores, whatever there was.
--
-- ARGV  2 what it is: 1 a value, 2 that there is none  3 how long the load took  4 its version  5 how long it is fresh
--       6 how long it is kept  7 the fingerprint of the codec  8 the payload
local ends = now + ARGV[6]
local head = write('>BBBxI4I8I8I8I8', 193, 1, ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0, now + ARGV[5], ends, 0)
keep(head .. NOBODY .. ARGV[7] .. ARGV[8], ends)
return 0

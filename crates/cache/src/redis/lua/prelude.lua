-- What every script of the cache begins with: one step on one key, in one round trip.
--
-- KEYS  1 the key
-- ARGV  1 the time in milliseconds, for tests; 0 is the server's
--       2 and on: what the file of the step says
-- value 56 bytes, and then the payload; integers are big-endian, and offsets begin at 0
--        0  193, which begins neither text nor JSON, and 1, the version of the format
--        2  what there is: 0 no content, 1 a value, 2 the knowledge that there is none; then a zero
--        4  how long the load took, in milliseconds
--        8  the version of the content; without content, the floor
--       16  until when the content is fresh; without content, until when the floor holds
--       24  until when the content is kept
--       32  until when the lease holds
--       40  whose the lease is; zeros: nobody's
--       48  the fingerprint of the codec of the payload
--
-- A floor ends with the first content above it, and content with an invalidation: there is never both. Times are whole
-- milliseconds. Every number is whole and below 2^53, up to where Lua counts exactly; tokens and fingerprints, which may
-- be above, are bytes.
local call, try, write, read, max = redis.call, redis.pcall, struct.pack, struct.unpack, math.max
local key, now = KEYS[1], ARGV[1] + 0
local BARE, NOBODY = 0, string.rep('\0', 8)

-- Milliseconds by which the keys of a test outlive the time that it makes pass.
local outlive = 0
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
else
  outlive = 86400000
end

-- Leaves this value until then.
local function keep(value, till)
  if till > now then
    call('SET', key, value, 'PX', till - now + outlive)
  else
    call('DEL', key)
  end
end

-- A value without content.
local function bare(floor, till, leased, token)
  return write('>BBBxI4I8I8I8I8', 193, 1, BARE, 0, floor, till, 0, leased) .. token .. NOBODY
end


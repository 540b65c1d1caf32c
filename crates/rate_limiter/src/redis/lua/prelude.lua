-- What every script of the rate limiter begins with: one decision on one key, in one round trip.
--
-- KEYS   1 the key of the limit
-- ARGV   1 what to do: 1 take, 2 take up to, 3 peek, 4 refund
--        2 tokens
--        3 the time, for tests; 0 is the server's
--        4 when the tokens were taken, of a refund
--        5 and on, for each part of the limit: its algorithm, and the numbers that its file names
-- reply  {0, 0, at, retry_after}                        denied
--        {1, taken, at, remaining, reset_after, delay}  allowed
--        {2, 0, at, burst}                              never fits
--        {3, 0, at}                                     refunded
-- state  the format version "1", a letter for the algorithm, and what its file says; all integers big-endian
--
-- Times are whole microseconds. Every number is whole and below 2^53, up to where Lua counts exactly, as is the
-- quotient of two such numbers, rounded up or down. What is told of longer times is cut there: 285 years.
--
-- The file of an algorithm decides in place, since a function costs more than what it would do here: by `op` and `cost`
-- at `now`, by ARGV from `i` on, by the state that begins at `place` of `value`, which is false where there is none. It
-- leaves `status` and what to reply: `left`, `reset`, `delay`, and in `cost` the tokens that it decided about; `state`,
-- if that is to be another one, or false if there is to be none; and in `micros` when it is fresh.
local call, floor, ceil, min, max = redis.call, math.floor, math.ceil, math.min, math.max
local write, read = struct.pack, struct.unpack
local key, op, cost, now = KEYS[1], ARGV[1] + 0, ARGV[2] + 0, ARGV[3] + 0
-- A mend is what becomes of a part that would allow what another part denies.
local TAKE, UP_TO, PEEK, REFUND, MEND = 1, 2, 3, 4, 5
local DENIED, ALLOWED, NEVER, REFUNDED = 0, 1, 2, 3
local EXACT = 9007199254740992

-- Milliseconds by which the keys of a test outlive the time that it makes pass.
local outlive = 0
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
else
  outlive = 86400000
end

-- Passes over a value that another algorithm wrote: the key starts afresh. All others are not ours to replace.
local function stranger(value, own)
  local version, letter = string.byte(value, 1, 2)
  if version ~= 49 then
    error({ err = 'RLFORMAT the value of the key has a format that this release does not know' })
  end
  if letter == own or not (letter == 97 or letter == 98 or letter == 99 or letter == 102 or letter == 108) then
    error({ err = 'RLCORRUPT the value of the key is damaged' })
  end
  return false
end


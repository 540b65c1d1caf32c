-- What there is. Something else than we write, or what a newer release wrote, is nothing, and may be replaced.
local tag, version, till, expires, leased, token, print = BARE, 0, 0, 0, 0, NOBODY, NOBODY
-- Not the payload, which may be megabytes. It fails where there is another type than a string.
local head = try('GETRANGE', key, 0, 55)
if type(head) == 'string' and #head == 56 and string.sub(head, 1, 2) == '\193\1' and string.byte(head, 3) <= 2 then
  tag, version, till, expires, leased, token, print = read('>xxBxxxxxI8I8I8I8c8c8', head)
end
local there = tag ~= BARE and now < expires
local floored = tag == BARE and now < till



if op ~= PEEK then
  if state then
    -- Rounded up, twice where it is not exact: a key is never forgotten early.
    call('SET', key, state, 'PX', ceil(micros / 1000) + (micros < EXACT and 0 or 2) + outlive)
  elseif state == false then
    call('DEL', key)
  end
end


if op ~= PEEK then
  if all then
    call('SET', key, state .. all, 'PX', ceil(micros / 1000) + outlive)
  elseif state then
    if made then
      call('SETRANGE', key, HEADER + slot * ENTRY, made)
    end
    call('SETRANGE', key, 0, state)
    if micros then
      call('PEXPIRE', key, ceil(micros / 1000) + outlive)
    end
  elseif state == false then
    call('DEL', key)
  end
end

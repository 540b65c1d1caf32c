if status == ALLOWED then
  return { ALLOWED, op == PEEK and 0 or cost, now, left, reset, delay }
elseif status == REFUNDED then
  return { REFUNDED, 0, now }
end
return { status, 0, now, left }

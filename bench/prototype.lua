-- wrk: one request per address of the file named by $ADDRESSES, each once, with $METHOD and the body of $BODY.
local method = os.getenv("METHOD")
local body = nil
if os.getenv("BODY") then
  local file = io.open(os.getenv("BODY"), "rb")
  body = file:read("*a")
  file:close()
end
local paths = {}
for line in io.lines(os.getenv("ADDRESSES")) do
  paths[#paths + 1] = line
end
local next_path = 0

function request()
  next_path = next_path % #paths + 1
  return wrk.format(method, paths[next_path], nil, body)
end

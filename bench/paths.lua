-- wrk: one request per path of the file named by $PATHS, in order and from the start again, with $METHOD and the body
-- of the file named by $BODY.
local method = os.getenv("METHOD")
local body = nil
if os.getenv("BODY") then
  local file = io.open(os.getenv("BODY"), "rb")
  body = file:read("*a")
  file:close()
end
local paths = {}
for line in io.lines(os.getenv("PATHS")) do
  paths[#paths + 1] = line
end
local next_path = 0

function request()
  next_path = next_path % #paths + 1
  return wrk.format(method, paths[next_path], nil, body)
end

-- wrk: one request per line of the file named by $PATHS, in order and from the start again, with $METHOD and the body
-- of the file named by $BODY. A line is a path; with $FORM it is a file's name, under which the body is posted to $FORM
-- as the form's field `archivo`. $SPAN, "LENGTH/SIZE": a range of LENGTH bytes, at a random multiple of it.
local method = os.getenv("METHOD")
local form = os.getenv("FORM")
local body = nil
if os.getenv("BODY") then
  local file = io.open(os.getenv("BODY"), "rb")
  body = file:read("*a")
  file:close()
end
local span, size = (os.getenv("SPAN") or ""):match("(%d+)/(%d+)")
local lines = {}
for line in io.lines(os.getenv("PATHS")) do
  lines[#lines + 1] = line
end
local next_line = 0
local boundary = "boveda-bench-3f1c9a"
local form_type = { ["Content-Type"] = "multipart/form-data; boundary=" .. boundary }

local function part(name)
  return "--" .. boundary .. '\r\nContent-Disposition: form-data; name="archivo"; filename="' .. name
    .. '"\r\nContent-Type: application/octet-stream\r\n\r\n' .. body .. "\r\n--" .. boundary .. "--\r\n"
end

function request()
  next_line = next_line % #lines + 1
  local line = lines[next_line]
  if form then
    return wrk.format("POST", form, form_type, part(line))
  end
  if span then
    local first = span * math.random(0, size / span - 1)
    return wrk.format(method, line, { ["Range"] = string.format("bytes=%d-%d", first, first + span - 1) })
  end
  return wrk.format(method, line, nil, body)
end

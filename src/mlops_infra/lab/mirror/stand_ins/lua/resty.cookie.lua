-- Stand-in for lua-resty-cookie: what the controller's sticky sessions call.
local M = {}
M.__index = M
local VALUES = { { "expires", "Expires" }, { "max_age", "Max-Age" }, { "domain", "Domain" }, { "path", "Path" }, { "samesite", "SameSite" } }
local FLAGS = { { "secure", "Secure" }, { "httponly", "HttpOnly" } }

function M:new()
  return setmetatable({}, M)
end

function M:get(name)
  local value = ngx.var["cookie_" .. name]
  if value == nil then
    return nil, "no cookie found in the current request"
  end
  return value
end

function M:set(cookie)
  if cookie.key == nil or cookie.value == nil then
    return nil, 'missing field "key" or "value"'
  end
  local parts = { cookie.key .. "=" .. cookie.value }
  for _, pair in ipairs(VALUES) do
    if cookie[pair[1]] then
      table.insert(parts, pair[2] .. "=" .. cookie[pair[1]])
    end
  end
  for _, pair in ipairs(FLAGS) do
    if cookie[pair[1]] then
      table.insert(parts, pair[2])
    end
  end
  local before = ngx.header["Set-Cookie"]
  local all = type(before) == "table" and before or (before and { before } or {})
  table.insert(all, table.concat(parts, "; "))
  ngx.header["Set-Cookie"] = all
  return true
end

return M

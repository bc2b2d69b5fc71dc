-- Stand-in for lua-resty-dns: resolves nothing, so Services of type ExternalName answer 504.
local M = { TYPE_A = 1, TYPE_AAAA = 28 }
M.__index = M

function M:new(options)
  return setmetatable({ opts = options }, M)
end

function M:query()
  return nil, "no DNS in Lua: resty.dns.resolver is a stand-in"
end

return M

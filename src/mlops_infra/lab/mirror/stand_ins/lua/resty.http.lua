-- Stand-in for lua-resty-http: every request fails. Only OCSP stapling, off by default, makes one.
local M = {}
M.__index = M
local PROBLEM = "no HTTP client in Lua: resty.http is a stand-in"

function M.new()
  return setmetatable({}, M)
end

function M.set_timeout() end

function M.set_timeouts() end

function M.parse_uri()
  return nil, PROBLEM
end

function M.request_uri()
  return nil, PROBLEM
end

return M

-- Stand-in for lua-resty-lock: a lock is a key of a shared dictionary.
local M = {}
M.__index = M

function M:new(dictionary, options)
  local shared = ngx.shared[dictionary]
  if shared == nil then
    return nil, "dictionary not found"
  end
  local given = options or {}
  local made = { shared = shared, patience = given.timeout or 5, lifetime = given.exptime or 30 }
  return setmetatable(made, M)
end

function M:lock(key)
  if self.held then
    return nil, "locked"
  end
  local waited, pause = 0, 0.002
  repeat
    local added, problem = self.shared:add(key, 1, self.lifetime)
    if added then
      self.held = key
      return waited
    elseif problem ~= "exists" then
      return nil, problem
    end
    ngx.sleep(pause)
    waited = waited + pause
  until waited >= self.patience
  return nil, "timeout"
end

function M:unlock()
  if not self.held then
    return nil, "unlocked"
  end
  self.shared:delete(self.held)
  self.held = nil
  return 1
end

return M

-- Stand-in for lua-resty-balancer's round robin: smooth and weighted, in plain Lua, from a random start.
local M = {}
M.__index = M

function M:new(nodes)
  local made = setmetatable({}, M)
  made:reinit(nodes)
  return made
end

function M:reinit(nodes)
  self.nodes, self.order, self.owed, self.total = {}, {}, {}, 0
  for id, weight in pairs(nodes) do
    self.nodes[id] = weight
    if weight > 0 then
      table.insert(self.order, id)
      self.owed[id] = 0
      self.total = self.total + weight
    end
  end
  table.sort(self.order)
  for _ = 2, math.random(1, math.max(#self.order, 1)) do
    self:find()
  end
end

function M:find()
  local chosen
  for _, id in ipairs(self.order) do
    self.owed[id] = self.owed[id] + self.nodes[id]
    if chosen == nil or self.owed[id] > self.owed[chosen] then
      chosen = id
    end
  end
  if chosen ~= nil then
    self.owed[chosen] = self.owed[chosen] - self.total
  end
  return chosen
end

M.next = M.find

function M:set(id, weight)
  local nodes = {}
  for key, value in pairs(self.nodes) do
    nodes[key] = value
  end
  nodes[id] = weight
  self:reinit(nodes)
end

function M:delete(id)
  self:set(id, nil)
end

return M

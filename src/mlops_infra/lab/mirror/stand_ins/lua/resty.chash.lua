-- Stand-in for lua-resty-balancer's consistent hash: a ring of CRC32 points. Keys meet other nodes than with upstream's.
local M = {}
M.__index = M
local POINTS_A_WEIGHT = 160

function M:new(nodes)
  local made = setmetatable({}, M)
  made:reinit(nodes)
  return made
end

function M:reinit(nodes)
  self.nodes, self.ring = {}, {}
  for id, weight in pairs(nodes) do
    self.nodes[id] = weight
    for point = 1, weight * POINTS_A_WEIGHT do
      table.insert(self.ring, { at = ngx.crc32_long(id .. "/" .. point), id = id })
    end
  end
  table.sort(self.ring, function(one, other)
    return one.at < other.at or (one.at == other.at and one.id < other.id)
  end)
end

function M:find(key)
  local first, last = 1, #self.ring
  if last == 0 then
    return nil
  end
  local wanted = ngx.crc32_long(tostring(key))
  while first <= last do
    local middle = math.floor((first + last) / 2)
    if self.ring[middle].at < wanted then
      first = middle + 1
    else
      last = middle - 1
    end
  end
  local index = first > #self.ring and 1 or first
  return self.ring[index].id, index
end

function M:next(index)
  if #self.ring == 0 then
    return nil
  end
  local following = index % #self.ring + 1
  return self.ring[following].id, following
end

return M

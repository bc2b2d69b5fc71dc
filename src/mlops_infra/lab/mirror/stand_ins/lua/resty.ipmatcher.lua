-- Stand-in for lua-resty-ipmatcher: refuses. Only the global rate limit asks it.
return {
  new = function()
    return nil, "resty.ipmatcher is a stand-in"
  end,
}

-- Stand-in for lua-resty-global-throttle: refuses, so a global rate limit is logged and lets requests through.
return {
  new = function()
    return nil, "resty.global_throttle is a stand-in"
  end,
}

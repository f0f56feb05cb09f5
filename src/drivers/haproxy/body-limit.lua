-- Request bodies whose length nobody said beforehand: HAProxy 2.6 has no limit for them of its own.
-- They are counted as they pass; what is over the limit is read and dropped, up to four times the
-- limit, so that the client can read its 413; the instance sees its request broken off, never ended.
local READ_ON = 4
local PAGE = [==[{{page}}]==]
local BodyLimit = { id = "holdfast-body-limit", flags = filter.FLT_CFG_FL_HTX }
BodyLimit.__index = BodyLimit

function BodyLimit:new()
  return setmetatable({ bytes = 0 }, BodyLimit)
end

function BodyLimit:http_headers(txn, msg)
  local max = not msg.channel:is_resp() and txn:get_var("txn.bodymax")
  if max then
    self.max = tonumber(max)
    filter.register_data_filter(self, msg.channel)
  end
  return filter.CONTINUE
end

function BodyLimit:http_payload(txn, msg)
  if msg.channel:is_resp() then return end
  local length = msg:input()
  self.bytes = self.bytes + length
  if self.bytes <= self.max then return end
  if not self.isOver then
    self.isOver = true
    txn:set_var("txn.toolarge", true)
  end
  -- An ERROR that is returned here is taken for a length: only this ends it.
  if self.bytes > READ_ON * self.max then error("a body goes on beyond its limit") end
  msg:remove(0, length)
end

function BodyLimit:http_end(_, msg)
  if self.isOver and not msg.channel:is_resp() then return filter.ERROR end
  return filter.CONTINUE
end

core.register_filter("holdfast-body-limit", BodyLimit, function(it) return it end)

-- Over HTTP/2 a client sees the 413 only if its body is read: otherwise its stream is cancelled.
core.register_service("holdfast-too-large", "http", function(applet)
  local bytes = 0
  repeat
    local chunk = applet:receive(65536)
    bytes = bytes + #chunk
  until #chunk == 0 or bytes > 64 * 1024 * 1024
  applet:set_status(413)
  applet:add_header("cache-control", "no-store")
  applet:add_header("content-type", "text/html; charset=utf-8")
  applet:add_header("content-length", tostring(#PAGE))
  applet:start_response()
  applet:send(PAGE)
end)

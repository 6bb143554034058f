-- Status checks of BENCH_CALLS live calls in turn, as a polling client of Vapi would send them.

dofile(os.getenv("BENCH_LUA") .. "/common.lua")

local call, calls = os.getenv("BENCH_CALL"), tonumber(os.getenv("BENCH_CALLS"))
local requests, count = {}, 0

function init()
  local before = head("/api/vapi/webhook/status-check")
  for i = 0, calls - 1 do
    requests[i] = before .. tail('{"message":{"call":{"id":"' .. call .. i .. '"}}}')
  end
end

function request()
  count = count + 1
  return requests[(count * 7 + thread_id) % calls]
end

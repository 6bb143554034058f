-- Whole calls: a reservation, and when it was answered its settlement, over BENCH_WALLETS wallets.

dofile(os.getenv("BENCH_LUA") .. "/common.lua")

local run, org = os.getenv("BENCH_RUN"), os.getenv("BENCH_ORG")
local wallets = tonumber(os.getenv("BENCH_WALLETS"))
local reserve, commit, prefix, count = nil, nil, nil, 0
local held, ready = {}, {}

function init()
  reserve, commit = head("/v1/reserve"), head("/v1/commit")
  prefix = run .. "-" .. thread_id .. "-"
end

local function body(call, more)
  local wallet = tonumber(call:match("%d+$")) % wallets
  return '{"org_id":"' .. org .. wallet .. '","call_id":"' .. call .. '",' .. more .. "}"
end

function request()
  local call = table.remove(ready)
  if call then
    return commit .. tail(body(call, '"actual_seconds":42'))
  end
  count = count + 1
  call = prefix .. count
  held[call] = true
  return reserve .. tail(body(call, '"estimated_minutes":5'))
end

function response(_, _, answer)
  local call = answer:match('"call_id":"([^"]+)"')
  if call and held[call] then
    held[call] = nil
    ready[#ready + 1] = call
  end
end

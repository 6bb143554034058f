-- Direct deductions of one penny from BENCH_WALLETS wallets in turn, each under a key of its own.

dofile(os.getenv("BENCH_LUA") .. "/common.lua")

local run, org = os.getenv("BENCH_RUN"), os.getenv("BENCH_ORG")
local wallets = tonumber(os.getenv("BENCH_WALLETS"))
local before, after, prefix, count = nil, {}, nil, 0

function init()
  before = head("/v1/deduct") .. "Idempotency-Key: "
  prefix = run .. "-" .. thread_id .. "-"
  for i = 0, wallets - 1 do
    after[i] = "\r\n" .. tail(
      '{"org_id":"' .. org .. i .. '","amount_pence":1,"class":"call",'
        .. '"type":"call_deduction","description":"A call of one penny"}'
    )
  end
end

function request()
  count = count + 1
  return before .. prefix .. count .. after[(count * 7 + thread_id) % wallets]
end

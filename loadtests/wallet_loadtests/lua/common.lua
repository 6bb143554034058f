-- What all wrk scripts share: who a thread is, how a request is put together, what is printed
-- at the end.  Requests are joined from pieces made once: wrk has the same cores as the server.

local threads = 0

function setup(thread)
  thread:set("thread_id", threads)
  threads = threads + 1
end

-- Return what comes before the lines that differ: request line, host, and given headers.
function head(path)
  return "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
    .. "\r\nContent-Type: application/json\r\n" .. os.getenv("BENCH_HEADERS")
end

-- Return the end of a request: the length of its body, and the body.
function tail(body)
  return "Content-Length: " .. #body .. "\r\n\r\n" .. body
end

-- Wait before each request, if less than the peak is wanted.
local delay_ms = tonumber(os.getenv("BENCH_DELAY_MS"))
if delay_ms > 0 then
  function delay()
    return math.random(0, 2 * delay_ms)
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, '
      .. '"refused": %d, "broken": %d}\n',
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end

-- Closed-loop load for wrk: random rows prepared before the start, each answer's status counted by wrk itself.
-- BENCH_CHECK=1 looks into every answer (used while warming up: it costs the load generator time),
-- BENCH_IDS=1 gives each request an x-request-id of its own.

local bodies, requests, count = {}, {}, 0
local ids = os.getenv("BENCH_IDS") == "1"
local path, file = os.getenv("BENCH_PATH"), os.getenv("BENCH_BODIES")
local before, after, serial = {}, {}, 0

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function init(args)
  for line in io.lines(file) do bodies[#bodies + 1] = line end
  for i, body in ipairs(bodies) do
    if ids then
      wrk.headers["X-Request-Id"] = "REQUEST-ID-HERE"
      local text = wrk.format(nil, path, nil, body)
      local from, to = text:find("REQUEST-ID-HERE", 1, true)
      before[i], after[i] = text:sub(1, from - 1), text:sub(to + 1)
    else
      requests[i] = wrk.format(nil, path, nil, body)
    end
  end
  count = #bodies
end

local next_row = 0

if ids then
  function request()
    next_row = next_row % count + 1
    serial = serial + 1
    return before[next_row] .. "bench-" .. serial .. after[next_row]
  end
else
  function request()
    next_row = next_row % count + 1
    return requests[next_row]
  end
end

wrong = 0

if os.getenv("BENCH_CHECK") == "1" then
  function response(status, headers, body)
    if status ~= 200 or #body == 0 then wrong = wrong + 1 end
  end
end

local threads = {}

function setup(thread) threads[#threads + 1] = thread end

function done(summary, latency, _)
  local bad = 0
  for _, thread in ipairs(threads) do bad = bad + (thread:get("wrong") or 0) end
  local e = summary.errors
  io.write(string.format(
    '\nBENCH {"requests": %d, "seconds": %.6f, "bytes": %d, "p50_ms": %.4f, "p90_ms": %.4f, "p99_ms": %.4f, ' ..
    '"max_ms": %.4f, "errors": %d, "wrong": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50) / 1e3,
    latency:percentile(90) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout, bad))
end

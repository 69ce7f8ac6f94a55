-- Walks through a file of prepared requests, all of the same length, and reports in one line of JSON.
-- wrk's client shares the machine's cores with what is measured, so nothing is made or signed here.

local file, length

function init(arguments)
   file = assert(io.open(arguments[1], "rb"))
   file:setvbuf("full", 1048576)
   length = assert(tonumber(arguments[2]))
end

function request()
   local bytes = file:read(length)
   if not bytes then
      -- A baseline does not mind repeated requests; for the host the driver counts its jobs afterwards.
      file:seek("set")
      bytes = file:read(length)
   end
   return bytes
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"failed":%d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end

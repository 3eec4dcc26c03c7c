// Makes the calls that stand on standard input with the JavaScript client, one after the other:
// {"url", "token", "calls": [[["rpc", "who", {}], ["limit", 1]], …]}; prints what each gave.
import { PostgrestClient } from "@supabase/postgrest-js";

let input = "";
for await (const part of process.stdin) input += part;
const { url, token, calls } = JSON.parse(input);
const headers = token ? { Authorization: `Bearer ${token}`, apikey: token } : {};
const client = new PostgrestClient(url, { schema: "api", headers });
const results = [];
for (const steps of calls) {
  let builder = client;
  try {
    for (const [name, ...args] of steps) builder = builder[name](...args);
    const { data, error, count, status } = await builder;
    results.push({ data, code: error?.code ?? null, message: error?.message ?? null, count, status });
  } catch (error) {
    results.push({ data: null, code: "thrown", message: String(error), count: null, status: 0 });
  }
}
console.log(JSON.stringify(results));

// What an editor of PromQL asks while somebody types: completions where | stands in each text that
// comes on standard input ({"url", "texts", "method"}), by Prometheus' own editor and its client.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { CompletionContext } = require("@codemirror/autocomplete");
const { EditorState } = require("@codemirror/state");
const { PromQLExtension } = require("@prometheus-io/codemirror-promql");
const { HTTPPrometheusClient } = require("@prometheus-io/codemirror-promql/dist/cjs/client/prometheus.js");

let input = "";
for await (const part of process.stdin) input += part;
const { url, texts, method } = JSON.parse(input);
const errors = [];
const remote = {
  url,
  httpMethod: method,
  httpErrorHandler: (error) => errors.push(String(error)),
};
const client = new HTTPPrometheusClient(remote);
const editor = new PromQLExtension().setComplete({ remote });
const completed = {};
for (const text of texts) {
  const [doc, at] = [text.replace("|", ""), text.indexOf("|")];
  const state = EditorState.create({ doc, extensions: [editor.asExtension()] });
  const [source] = state.languageDataAt("autocomplete", at);
  const found = await source(new CompletionContext(state, at, true));
  completed[text] = (found?.options ?? []).map((option) => option.label);
}
const series = await client.series("http_requests_total", [], "path");
const metadata = await client.metricMetadata();
console.log(JSON.stringify({ completed, series: series.length, metadata, errors }));
process.exit(0);

import { assertEquals } from "@std/assert";
import { Counter, OVERFLOW, SERIES_MAX } from "./counters.ts";

Deno.test("a counter writes its header without _total and a line for each series", () => {
  const bytes = new Counter({
    name: "istio_xds_message_bytes",
    help: "Payload received (unstable)",
    unit: "bytes",
    labels: ["url"],
  });
  bytes.add(["a"], 7);
  bytes.add(["b"], 1);
  bytes.add(["a"], 3);
  assertEquals(
    bytes.render(),
    "# HELP istio_xds_message_bytes Payload received (unstable).\n" +
      "# TYPE istio_xds_message_bytes counter\n" +
      "# UNIT istio_xds_message_bytes bytes\n" +
      'istio_xds_message_bytes_total{url="a"} 10\n' +
      'istio_xds_message_bytes_total{url="b"} 1\n',
  );
});

Deno.test("a counter that counted nothing writes nothing", () => {
  assertEquals(new Counter({ name: "n", help: "h", labels: ["l"] }).render(), "");
});

Deno.test("a counter without labels has no braces, and label values are escaped", () => {
  const plain = new Counter({ name: "n", help: "h", labels: [] });
  plain.add([]);
  assertEquals(plain.render(), "# HELP n h.\n# TYPE n counter\nn_total 1\n");
  const escaped = new Counter({ name: "n", help: "h", labels: ["l"] });
  escaped.add(['a"\\\n']);
  assertEquals(escaped.render().split("\n")[2], 'n_total{l="a\\"\\\\\\n"} 1');
});

Deno.test("a counter keeps SERIES_MAX series; the rest is counted in one that says overflow", () => {
  const counter = new Counter({ name: "n", help: "h", labels: ["l"] });
  for (let index = 0; index < SERIES_MAX; index++) counter.add([`${index}`]);
  assertEquals(counter.series, SERIES_MAX);
  counter.add(["one more"], 2);
  counter.add(["and another"], 3);
  counter.add(["0"]);
  assertEquals(counter.series, SERIES_MAX + 1);
  const lines = counter.render().split("\n");
  assertEquals(lines.filter((line) => line.includes(OVERFLOW)), [`n_total{l="${OVERFLOW}"} 5`]);
  assertEquals(lines[2], 'n_total{l="0"} 2');
});

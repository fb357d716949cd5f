// Tests of proxy_config.ts (spec/config-and-observability §2.3).
import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "./errors.ts";
import { readProxyConfig } from "./proxy_config.ts";

Deno.test("readProxyConfig() puts the variable over the file, field by field and key by key", () => {
  const merged = readProxyConfig({
    meshText:
      "{defaultConfig: {statsPort: 15888, proxyAdminPort: 15099, proxyMetadata: {ISTIO_META_FOO: foo, ISTIO_META_FOOBAR: foobar}}}",
    envText:
      '{"proxyAdminPort":15999,"discoveryAddress":"istiod-rev0.istio-system-2:15012","proxyMetadata":{"ISTIO_META_BAR":"bar","ISTIO_META_FOOBAR":"x","NO_PREFIX":"n"}}',
  });
  assertEquals(merged.statsPort, 15888);
  assertEquals(merged.adminPort, 15999);
  assertEquals(merged.discoveryAddress, "istiod-rev0.istio-system-2:15012");
  assertEquals(Object.fromEntries(merged.metadata), {
    FOO: "foo",
    BAR: "bar",
    FOOBAR: "x",
    NO_PREFIX: "n",
  });
});

Deno.test.each([
  { name: "nothing", meshText: null, envText: null },
  { name: "an empty variable", meshText: null, envText: "" },
  { name: "an empty file", meshText: "", envText: null },
  { name: "other keys", meshText: "{rootNamespace: x}", envText: "{holdApplication: 2, x: y}" },
])("readProxyConfig() of $name", ({ meshText, envText }) => {
  assertEquals(readProxyConfig({ meshText, envText }), {
    discoveryAddress: null,
    adminPort: null,
    statsPort: null,
    concurrency: null,
    metadata: new Map(),
  });
});

Deno.test("readProxyConfig() turns scalars of the metadata into texts", () => {
  const { metadata } = readProxyConfig({
    meshText: null,
    envText: "{proxyMetadata: {A: true, B: 1, C: null}}",
  });
  assertEquals(Object.fromEntries(metadata), { A: "true", B: "1", C: "" });
});

const MESH =
  "error parsing proxy config: failed parsing mesh config file ./etc/istio/config/mesh: ";
const ENV = "error parsing proxy config: failed parsing proxy config env: ";

Deno.test.each([
  { meshText: "- a", envText: null, expected: `${MESH}expected a mapping` },
  { meshText: "defaultConfig: 1", envText: null, expected: `${MESH}expected a mapping` },
  { meshText: null, envText: "1", expected: `${ENV}expected a mapping` },
  {
    meshText: null,
    envText: "{statsPort: 65536}",
    expected: `${ENV}statsPort: expected a port from 0 to 65535`,
  },
  {
    meshText: null,
    envText: "{discoveryAddress: [a]}",
    expected: `${ENV}discoveryAddress: expected a text`,
  },
  {
    meshText: null,
    envText: "{proxyMetadata: {A: {}}}",
    expected: `${ENV}proxyMetadata.A: expected a text`,
  },
  {
    meshText: null,
    envText: "{a: [",
    expected:
      `${ENV}Flow sequence in block collection must be sufficiently indented and end with a ] at line 1, column 6`,
  },
])("readProxyConfig() refuses $meshText $envText", ({ meshText, envText, expected }) => {
  const error = assertThrows(() => readProxyConfig({ meshText, envText }), ConfigError);
  assertEquals(error.message, expected);
});

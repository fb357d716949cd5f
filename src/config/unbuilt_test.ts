// Tests of unbuilt.ts: what is refused until it is built, and what is only said.
import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { readConfig } from "./config.ts";
import { ConfigError } from "./errors.ts";
import { refuseUnbuilt } from "./unbuilt.ts";

type Variables = Readonly<Record<string, string | undefined>>;

const BUILT: Variables = {
  PROXY_MODE: "dedicated",
  PROXY_WORKLOAD_INFO: "default/a/default",
  XDS_ADDRESS: "",
  FAKE_CA: "true",
};

function settings(variables: Variables = {}) {
  const all: Variables = { ...BUILT, ...variables };
  return readConfig((name) => all[name], { exists: () => true });
}

Deno.test("refuseUnbuilt() passes what is built as it is", () => {
  const config = settings();
  assertStrictEquals(refuseUnbuilt(config), config);
});

Deno.test("refuseUnbuilt() does not mind a control plane", () => {
  const config = settings({ XDS_ADDRESS: undefined });
  assertEquals(refuseUnbuilt(config).xds?.address, "https://localhost:15012");
});

Deno.test("refuseUnbuilt() does not mind a CA", () => {
  const config = settings({ FAKE_CA: "false", CA_ADDRESS: "istiod:15012" });
  assertEquals(refuseUnbuilt(config).ca?.address, "https://istiod:15012");
});

Deno.test.each([
  {
    name: "shared mode",
    variables: { PROXY_MODE: "shared" },
    expected:
      "PROXY_MODE=shared (the default) is not supported yet: set PROXY_MODE=dedicated and PROXY_WORKLOAD_INFO",
  },
  {
    name: "shared mode by default",
    variables: { PROXY_MODE: undefined },
    expected:
      "PROXY_MODE=shared (the default) is not supported yet: set PROXY_MODE=dedicated and PROXY_WORKLOAD_INFO",
  },
  {
    name: "DNS alone",
    variables: { ENABLE_PROXY: "false" },
    expected: "ENABLE_PROXY=false leaves only the DNS proxy, which is not supported yet",
  },
  {
    name: "original source addresses on the runtime's sockets",
    variables: { ENABLE_ORIG_SRC: "true" },
    expected:
      "ENABLE_ORIG_SRC=true needs IO_PROVIDER=native: the runtime's own sockets cannot be transparent",
  },
  {
    name: "a control plane where key exchange must be post-quantum",
    variables: { COMPLIANCE_POLICY: "pqc", IO_PROVIDER: "native", XDS_ADDRESS: "istiod:15012" },
    expected:
      "COMPLIANCE_POLICY=pqc cannot be kept towards XDS_ADDRESS: key exchange cannot be chosen in the runtime's own TLS",
  },
  {
    name: "a CA where key exchange must be post-quantum",
    variables: {
      COMPLIANCE_POLICY: "pqc",
      IO_PROVIDER: "native",
      FAKE_CA: "false",
      CA_ADDRESS: "istiod:15012",
    },
    expected:
      "COMPLIANCE_POLICY=pqc cannot be kept towards CA_ADDRESS: key exchange cannot be chosen in the runtime's own TLS",
  },
])("refuseUnbuilt() refuses $name", ({ variables, expected }) => {
  const { message } = assertThrows(() => refuseUnbuilt(settings(variables)), ConfigError);
  assertEquals(message, `invalid configuration: ${expected}`);
});

Deno.test.each([
  { name: "without one", address: "" },
  { name: "over a loopback without TLS", address: "http://127.0.0.1:15010" },
])(
  "refuseUnbuilt() lets peers be post-quantum where the control plane does not matter: $name",
  ({ address }) => {
    const config = settings({
      COMPLIANCE_POLICY: "pqc",
      IO_PROVIDER: "native",
      XDS_ADDRESS: address,
    });
    assertStrictEquals(refuseUnbuilt(config), config);
  },
);

Deno.test("refuseUnbuilt() lets the native network be transparent", () => {
  const config = settings({ ENABLE_ORIG_SRC: "true", IO_PROVIDER: "native" });
  assertStrictEquals(refuseUnbuilt(config), config);
});

Deno.test.each([
  { name: "by default", variables: {}, said: false },
  { name: "by a variable", variables: { ISTIO_META_DNS_CAPTURE: "true" }, said: true },
  {
    name: "by ProxyConfig",
    variables: { PROXY_CONFIG: "{proxyMetadata: {DNS_CAPTURE: true}}" },
    said: true,
  },
  { name: "not at all", variables: { ISTIO_META_DNS_CAPTURE: "false" }, said: false },
])("refuseUnbuilt() warns where DNS is asked for explicitly: $name", ({ variables, said }) => {
  const config = refuseUnbuilt(settings(variables));
  assertEquals(
    config.notices,
    said
      ? [{
        level: "warn",
        text: "the DNS proxy is not supported yet: ISTIO_META_DNS_CAPTURE has no effect",
      }]
      : [],
  );
  assertEquals([Object.isFrozen(config), Object.isFrozen(config.notices)], [true, true]);
});

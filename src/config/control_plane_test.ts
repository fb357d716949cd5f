// Tests of control_plane.ts: addresses, trust roots and tokens (spec/config-and-observability §2.2, xds-state-and-dns §1.1).
import { assertEquals, assertThrows } from "@std/assert";
import { readCa, readToken, readXds, ROOT_CERT_PATH, TOKEN_PATH } from "./control_plane.ts";
import { EnvReader } from "./env_reader.ts";
import { ConfigError, type Notice } from "./errors.ts";

type Variables = Readonly<Record<string, string | undefined>>;

const PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
const NODE = { instanceIp: "1.1.1.1", podName: "", podNamespace: "", nodeName: "" };

interface World {
  /** Paths that exist; by default the trust root's. */
  readonly files?: readonly string[];
  readonly discoveryAddress?: string;
}

const reader = (variables: Variables) => new EnvReader((name) => variables[name]);
const existsIn = (files: readonly string[]) => (path: string) => files.includes(path);

function xds(variables: Variables, { files = [ROOT_CERT_PATH], discoveryAddress }: World = {}) {
  return readXds(reader(variables), {
    exists: existsIn(files),
    token: null,
    headers: [],
    discoveryAddress: discoveryAddress ?? null,
    onDemand: false,
    node: NODE,
    metadata: new Map(),
    jsonMetadata: new Map(),
  });
}

function ca(variables: Variables, { files = [ROOT_CERT_PATH] }: World = {}) {
  return readCa(reader(variables), { exists: existsIn(files), token: null, headers: [] });
}

function token(value: string | undefined, files: readonly string[] = []) {
  const notices: Notice[] = [];
  const found = readToken(reader({ AUTH_TOKEN: value }), existsIn(files), notices);
  return { found, notices };
}

const refusal = (read: () => unknown): string => assertThrows(read, ConfigError).message;

Deno.test.each<{ name: string; variables: Variables; discovery?: string; expected?: string }>([
  { name: "nothing set", variables: {}, expected: "https://localhost:15012" },
  {
    name: "nothing set in a cluster",
    variables: { KUBERNETES_SERVICE_HOST: "10.0.0.1" },
    expected: "https://istiod.istio-system.svc:15012",
  },
  {
    name: "KUBERNETES_SERVICE_HOST set to nothing",
    variables: { KUBERNETES_SERVICE_HOST: "" },
    expected: "https://istiod.istio-system.svc:15012",
  },
  {
    name: "an address without scheme",
    variables: { XDS_ADDRESS: "istiod.x.svc:15012" },
    expected: "https://istiod.x.svc:15012",
  },
  {
    name: "the chart's address",
    variables: { XDS_ADDRESS: "istiod.istio-system.svc:15012" },
    expected: "https://istiod.istio-system.svc:15012",
  },
  {
    name: "an address with scheme",
    variables: { XDS_ADDRESS: "https://istiod:15012" },
    expected: "https://istiod:15012",
  },
  {
    name: "an IPv6 address",
    variables: { XDS_ADDRESS: "[fd00::1]:15012" },
    expected: "https://[fd00::1]:15012",
  },
  {
    name: "ProxyConfig's address",
    variables: {},
    discovery: "istiod-rev0.istio-system-2:15012",
    expected: "https://istiod-rev0.istio-system-2:15012",
  },
  {
    name: "the variable over ProxyConfig",
    variables: { XDS_ADDRESS: "a:1" },
    discovery: "b:2",
    expected: "https://a:1",
  },
  {
    name: "ProxyConfig over the default",
    variables: { KUBERNETES_SERVICE_HOST: "10.0.0.1" },
    discovery: "b:2",
    expected: "https://b:2",
  },
  {
    name: "plaintext to IPv4 loopback",
    variables: { XDS_ADDRESS: "http://127.0.0.3:15010" },
    expected: "http://127.0.0.3:15010",
  },
  {
    name: "plaintext to IPv6 loopback",
    variables: { XDS_ADDRESS: "http://[::1]:15010" },
    expected: "http://[::1]:15010",
  },
  { name: "an empty address", variables: { XDS_ADDRESS: "" } },
  { name: "an empty address over ProxyConfig", variables: { XDS_ADDRESS: "" }, discovery: "b:2" },
  { name: "ProxyConfig's empty address", variables: {}, discovery: "" },
])("readXds() of $name", ({ variables, discovery, expected }) => {
  const found = xds(variables, discovery === undefined ? {} : { discoveryAddress: discovery });
  assertEquals(found?.address, expected);
});

Deno.test("readCa() has the defaults of readXds(), and its own variable", () => {
  assertEquals(ca({}).address, "https://localhost:15012");
  assertEquals(
    ca({ KUBERNETES_SERVICE_HOST: "x", XDS_ADDRESS: "a:1" }).address,
    "https://istiod.istio-system.svc:15012",
  );
  assertEquals(ca({ CA_ADDRESS: "ca.x.svc:15012" }).address, "https://ca.x.svc:15012");
  assertEquals(
    refusal(() => ca({ CA_ADDRESS: "" })),
    "invalid configuration: CA_ADDRESS is empty and FAKE_CA is not true: nobody would issue certificates",
  );
});

Deno.test.each([
  { value: "https://", expected: "invalid uri: https://" },
  { value: "istiod:port", expected: "invalid uri: https://istiod:port" },
  { value: "istiod:65536", expected: "invalid uri: https://istiod:65536" },
  { value: "a b", expected: "invalid uri: https://a b" },
  { value: "ist\niod:1", expected: "invalid uri: https://ist\niod:1" },
  { value: "istiod\\x:1", expected: "invalid uri: https://istiod\\x:1" },
  { value: "bücher:1", expected: "invalid uri: https://bücher:1" },
  {
    value: "me:s3cr3t@istiod:1",
    expected: "invalid uri: XDS_ADDRESS names a user, which is not sent",
  },
  {
    value: "https://me:s3cr3t@istio d:1",
    expected: "invalid uri: XDS_ADDRESS names a user, which is not sent",
  },
  {
    value: "http://istiod:15010",
    expected:
      "invalid configuration: XDS_ADDRESS is http://istiod:15010: the scheme must be https, or http to a loopback IP address",
  },
  {
    value: "http://localhost:15010",
    expected:
      "invalid configuration: XDS_ADDRESS is http://localhost:15010: the scheme must be https, or http to a loopback IP address",
  },
  {
    value: "http://10.0.0.1:15010",
    expected:
      "invalid configuration: XDS_ADDRESS is http://10.0.0.1:15010: the scheme must be https, or http to a loopback IP address",
  },
  {
    value: "unix:///run/istiod",
    expected:
      "invalid configuration: XDS_ADDRESS is unix:///run/istiod: the scheme must be https, or http to a loopback IP address",
  },
])("readXds() refuses %j", ({ value, expected }) => {
  assertEquals(refusal(() => xds({ XDS_ADDRESS: value })), expected);
});

Deno.test.each([
  { name: "the default file", files: [ROOT_CERT_PATH], expected: "file" },
  { name: "a file", value: "/root.pem", files: ["/root.pem"], expected: "file" },
  { name: "a file of that name", value: "SYSTEM", files: ["SYSTEM"], expected: "file" },
  { name: "SYSTEM", value: "SYSTEM", files: [], expected: "system" },
  { name: "PEM text", value: PEM, files: [], expected: "pem" },
])("readXds() and readCa() take as trust root $name", ({ value, files, expected }) => {
  const path = value ?? ROOT_CERT_PATH;
  const root = {
    file: { kind: "file", path },
    system: { kind: "system" },
    pem: { kind: "pem", pem: PEM },
  }[expected]!;
  assertEquals(xds({ XDS_ROOT_CA: value }, { files })?.root, root as never);
  assertEquals(ca({ CA_ROOT_CA: value }, { files }).root, root as never);
});

Deno.test("readXds() and readCa() refuse to trust nobody", () => {
  assertEquals(
    refusal(() => xds({}, { files: [] })),
    "invalid configuration: XDS_ROOT_CA is not set and ./var/run/secrets/istio/root-cert.pem does not exist: " +
      "nothing would be trusted; set XDS_ADDRESS= (empty) to run without a control plane",
  );
  assertEquals(
    refusal(() => ca({}, { files: [] })),
    "invalid configuration: CA_ROOT_CA is not set and ./var/run/secrets/istio/root-cert.pem does not exist: " +
      "nothing would be trusted; set FAKE_CA=true to run without a CA",
  );
  for (const value of ["", "/missing.pem", "system", "-----BEGIN PRIVATE KEY-----\ns3cr3t"]) {
    assertEquals(
      refusal(() => ca({ CA_ROOT_CA: value }, { files: [] })),
      "invalid configuration: CA_ROOT_CA names no file, is not SYSTEM and has no PEM certificate: nothing would be trusted",
    );
  }
});

Deno.test("readXds() needs no trust root without TLS, or without a control plane", () => {
  const plaintext = xds({ XDS_ADDRESS: "http://127.0.0.1:1" }, { files: [] });
  assertEquals(plaintext?.root, { kind: "file", path: ROOT_CERT_PATH });
  assertEquals(xds({ XDS_ADDRESS: "", XDS_ROOT_CA: "/missing.pem" }, { files: [] }), null);
});

Deno.test("readXds() and readCa() know another name of their server", () => {
  const variables = { ALT_XDS_HOSTNAME: "xds.example", ALT_CA_HOSTNAME: "ca.example" };
  assertEquals(xds(variables)?.altHostname, "xds.example");
  assertEquals(ca(variables).altHostname, "ca.example");
  assertEquals([xds({})?.altHostname, ca({}).altHostname], [null, null]);
});

Deno.test.each([
  { name: "nothing, where the default file is missing", files: [], expected: null },
  {
    name: "nothing, where the default file exists",
    files: [TOKEN_PATH],
    expected: { kind: "file", path: TOKEN_PATH } as const,
  },
  {
    name: "a file",
    value: "/token",
    files: ["/token"],
    expected: { kind: "file", path: "/token" } as const,
  },
  {
    name: "a token, over the default file",
    value: "abc123",
    files: [TOKEN_PATH],
    expected: { kind: "text", token: "abc123" } as const,
  },
  {
    name: "a token with an end of line",
    value: "abc123\r\n",
    files: [],
    expected: { kind: "text", token: "abc123" } as const,
  },
  { name: "an empty token", value: "", files: [], expected: { kind: "text", token: "" } as const },
])("readToken() takes $name", ({ value, files, expected }) => {
  assertEquals(token(value, files), { found: expected, notices: [] });
});

Deno.test("readToken() warns where a token looks like a path, and does not repeat it", () => {
  for (const value of ["/var/run/s3cr3t", "./s3cr3t", "../s3cr3t"]) {
    const { found, notices } = token(value);
    assertEquals(found, { kind: "text", token: value });
    assertEquals(notices, [{
      level: "warn",
      text: "AUTH_TOKEN looks like a path, but there is no such file: it is sent as the token",
    }]);
  }
});

Deno.test.each(["s3cr3t s3cr3t", "s3cr3t\ns3cr3t", "s3cr3t\u0000", "s3cr3t\u00fc"])(
  "readToken() refuses what no header can carry, and does not repeat it: %j",
  (value) => {
    assertEquals(
      refusal(() => token(value)),
      "invalid configuration: AUTH_TOKEN names no file and is no token: it has characters that a header cannot have",
    );
  },
);

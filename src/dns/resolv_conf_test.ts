// Tests of resolv_conf.ts (resolv.conf(5); spec/xds-state-and-dns §3.11).
import { assertEquals, assertThrows } from "@std/assert";
import { ResolverConfigError } from "./errors.ts";
import {
  ATTEMPTS_MAX,
  NAME_SERVERS_MAX,
  NDOTS_MAX,
  parseResolvConf,
  RESOLV_CONF_BYTES_MAX,
  SEARCH_DOMAINS_MAX,
  TIMEOUT_SECONDS_MAX,
} from "./resolv_conf.ts";

const SERVER = "nameserver 10.0.0.1\n";

Deno.test("parseResolvConf() reads what Kubernetes writes", () => {
  const config = parseResolvConf(
    "search istio-system.svc.cluster.local svc.cluster.local cluster.local\n" +
      "nameserver 10.96.0.10\noptions ndots:5\n",
  );
  assertEquals(config, {
    servers: [{ ip: "10.96.0.10", port: 53 }],
    search: ["istio-system.svc.cluster.local", "svc.cluster.local", "cluster.local"],
    ndots: 5,
    timeoutMs: 5_000,
    attempts: 2,
    edns0: false,
    warnings: [],
  });
});

Deno.test("parseResolvConf() reads options, IPv6, comments and blanks", () => {
  const config = parseResolvConf(
    "# nameserver 9.9.9.9\n; nameserver 8.8.8.8\n\n  nameserver\tFD00::0010  \r\n" +
      "nameserver 10.0.0.1 trailing\nnameserver 10.0.0.1\n" +
      "options timeout:1 attempts:4 edns0 rotate\nsortlist 10.0.0.0\n",
  );
  assertEquals(config.servers.map(({ ip }) => ip), ["fd00::10", "10.0.0.1"]);
  assertEquals([config.timeoutMs, config.attempts, config.edns0], [1_000, 4, true]);
  assertEquals(config.warnings, []);
});

Deno.test.each([
  {
    name: "takes the last of search and domain",
    text: "search a.b c\ndomain D.e x",
    search: ["d.e"],
  },
  { name: "takes the last search", text: "domain d.e\nsearch a.b C. c", search: ["a.b", "c"] },
  { name: "knows the root", text: "search .", search: [""] },
  { name: "has none by default", text: "", search: [] },
])("parseResolvConf() $name", ({ text, search }) => {
  assertEquals(parseResolvConf(SERVER + text).search, search);
});

Deno.test("parseResolvConf() keeps numbers within what libc takes", () => {
  const most = parseResolvConf(`${SERVER}options ndots:99 timeout:99 attempts:99`);
  assertEquals([most.ndots, most.timeoutMs, most.attempts], [
    NDOTS_MAX,
    TIMEOUT_SECONDS_MAX * 1000,
    ATTEMPTS_MAX,
  ]);
  const least = parseResolvConf(`${SERVER}options ndots:0 timeout:0 attempts:0`);
  assertEquals([least.ndots, least.timeoutMs, least.attempts], [0, 1_000, 0]);
  const odd = parseResolvConf(`${SERVER}options ndots:x timeout: attempts:-1 ndots`);
  assertEquals([odd.ndots, odd.timeoutMs, odd.attempts], [1, 5_000, 2]);
});

Deno.test.each([NAME_SERVERS_MAX - 1, NAME_SERVERS_MAX, NAME_SERVERS_MAX + 1])(
  "parseResolvConf() uses up to NAME_SERVERS_MAX of %i name servers",
  (count) => {
    const lines = Array.from({ length: count }, (_, at) => `nameserver 10.0.0.${at + 1}`);
    const { servers, warnings } = parseResolvConf(lines.join("\n"));
    assertEquals(servers.length, Math.min(count, NAME_SERVERS_MAX));
    assertEquals(warnings.length, count > NAME_SERVERS_MAX ? 1 : 0);
  },
);

Deno.test.each([SEARCH_DOMAINS_MAX, SEARCH_DOMAINS_MAX + 1])(
  "parseResolvConf() uses up to SEARCH_DOMAINS_MAX of %i domains",
  (count) => {
    const domains = Array.from({ length: count }, (_, at) => `d${at}.test`);
    const { search, warnings } = parseResolvConf(`${SERVER}search ${domains.join(" ")}`);
    assertEquals(search.length, SEARCH_DOMAINS_MAX);
    assertEquals(warnings.length, count > SEARCH_DOMAINS_MAX ? 1 : 0);
  },
);

Deno.test("parseResolvConf() overlooks what it cannot use, and says so", () => {
  const { servers, search, warnings } = parseResolvConf(
    "nameserver fe80::1%eth0\nnameserver\nnameserver localhost\nsearch a..b ok\n" + SERVER,
  );
  assertEquals(servers.length, 1);
  assertEquals(search, ["ok"]);
  assertEquals(warnings, [
    '/etc/resolv.conf: "fe80::1%eth0" is no address of a name server',
    '/etc/resolv.conf: "" is no address of a name server',
    '/etc/resolv.conf: "localhost" is no address of a name server',
    '/etc/resolv.conf: "a..b" is no domain',
  ]);
});

Deno.test.each([
  { text: null, message: "Cannot resolve names: /x cannot be read" },
  { text: "", message: "Cannot resolve names: /x names no name server" },
  {
    text: "search a.b\nnameserver nobody",
    message: "Cannot resolve names: /x names no name server",
  },
  {
    text: "#".repeat(RESOLV_CONF_BYTES_MAX + 1),
    message: `Cannot resolve names: /x is larger than ${RESOLV_CONF_BYTES_MAX} bytes`,
  },
])("parseResolvConf() refuses a machine without names: $message", ({ text, message }) => {
  const error = assertThrows(() => parseResolvConf(text, { source: "/x" }), ResolverConfigError);
  assertEquals(error.message, message);
  assertEquals(error.code, "RESOLVER_CONFIG");
});

Deno.test("parseResolvConf() takes RESOLV_CONF_BYTES_MAX", () => {
  const text = SERVER.padEnd(RESOLV_CONF_BYTES_MAX, "\n");
  assertEquals(parseResolvConf(text).servers.length, 1);
});

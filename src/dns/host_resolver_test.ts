// Tests of host_resolver.ts (spec/xds-state-and-dns §3.11).
import { assertEquals } from "@std/assert";
import type { ProxyError } from "../base/errors.ts";
import { SeededRandom, SystemRandom } from "../base/random.ts";
import { SystemClock } from "../base/system_clock.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { DenoNetwork } from "../net/deno/deno_network.ts";
import { DenoUdp } from "../net/deno/udp_socket.ts";
import {
  LoopbackNameServer,
  NO_TCP,
  PretendUdp,
  reply,
  type Script,
  zone,
} from "../../tests/support/name_servers.ts";
import { HostResolver, LOOKUP_MS_MAX, LOOKUPS_MAX, OTHER_FAMILY_MS } from "./host_resolver.ts";
import { parseHosts } from "./hosts_file.ts";
import { parseResolvConf } from "./resolv_conf.ts";

interface WorldOptions {
  readonly script?: Script;
  readonly resolvConf?: string;
  readonly hosts?: string;
  readonly ipv6Enabled?: boolean;
}

/** A resolver on pretended name servers, and what it said. */
function world(options: WorldOptions = {}) {
  const clock = new VirtualClock();
  const udp = new PretendUdp(clock, options.script ?? zone({}));
  const resolver = new HostResolver({
    config: parseResolvConf(`nameserver 10.0.0.53\n${options.resolvConf ?? ""}`),
    hosts: parseHosts(options.hosts ?? ""),
    ipv6Enabled: options.ipv6Enabled ?? true,
    udp,
    network: NO_TCP,
    clock,
    random: new SeededRandom(1),
  });
  const outcomes: (readonly string[] | string)[] = [];
  const resolve = (hostname: string) =>
    resolver.resolve(hostname, (outcome) => {
      const list = outcome as readonly string[] & ProxyError;
      outcomes.push(Array.isArray(outcome) ? outcome : `${list.code} ${list.message}`);
    });
  const asked = () => udp.asked.map(({ type, name }) => `${type} ${name}`);
  return { clock, udp, resolver, resolve, outcomes, asked };
}

/** What comes of one name. */
function resolved(hostname: string, options: WorldOptions = {}) {
  const { clock, resolve, outcomes, asked, udp } = world(options);
  resolve(hostname);
  assertEquals(outcomes, [], "in a later turn");
  clock.advance(LOOKUP_MS_MAX);
  assertEquals([udp.openUdpSockets, clock.pendingTimers], [0, 0]);
  assertEquals(outcomes.length, 1);
  return { outcome: outcomes[0]!, asked: asked() };
}

const EXT = zone({ "A ext.example": ["1.1.1.1"], "AAAA ext.example": ["2001:db8::1"] });

Deno.test("resolve() gives both families", () => {
  const { outcome, asked } = resolved("Ext.Example", { script: EXT });
  assertEquals(outcome, ["1.1.1.1", "2001:db8::1"]);
  assertEquals(asked, ["A ext.example", "AAAA ext.example"]);
});

Deno.test("resolve() asks for A alone with IPV6_ENABLED=false", () => {
  const { outcome, asked } = resolved("ext.example", { script: EXT, ipv6Enabled: false });
  assertEquals(outcome, ["1.1.1.1"]);
  assertEquals(asked, ["A ext.example"]);
});

Deno.test("resolve() needs one family only", () => {
  const script: Script = (asked) =>
    asked.type === "A" ? EXT(asked) : [{ bytes: reply(asked, { rcode: 2 }) }];
  assertEquals(resolved("ext.example", { script }).outcome, ["1.1.1.1"]);
  const onlyV6 = zone({ "AAAA ext.example": ["2001:db8::1"] });
  assertEquals(resolved("ext.example", { script: onlyV6 }).outcome, ["2001:db8::1"]);
});

Deno.test("resolve() waits OTHER_FAMILY_MS for the other family, which may come for the next", () => {
  const slow = zone({ "AAAA ext.example": ["2001:db8::1"] }, { afterMs: 1_000 });
  const script: Script = (asked) => asked.type === "AAAA" ? slow(asked) : EXT(asked);
  const { clock, udp, resolve, outcomes } = world({ script });
  resolve("ext.example");
  clock.advance(OTHER_FAMILY_MS - 1);
  assertEquals(outcomes, []);
  clock.advance(1);
  assertEquals(outcomes, [["1.1.1.1"]]);
  clock.advance(1_000);
  resolve("ext.example");
  clock.runUntilIdle();
  assertEquals(outcomes[1], ["1.1.1.1", "2001:db8::1"]);
  assertEquals([udp.asked.length, udp.openUdpSockets, clock.pendingTimers], [2, 0, 0]);
});

Deno.test("resolve() says that a name does not exist", () => {
  const { outcome } = resolved("nobody.example", { script: EXT });
  assertEquals(outcome, 'NAME_NOT_RESOLVED Cannot resolve "nobody.example": no such name');
});

Deno.test("resolve() gives an empty list for a name without addresses", () => {
  const script = zone({ "TXT ext.example": ["hello"] });
  assertEquals(resolved("ext.example", { script }).outcome, []);
});

Deno.test("resolve() says what name servers answered, or that none did", () => {
  const refusing: Script = (asked) => [{ bytes: reply(asked, { rcode: 5 }) }];
  assertEquals(
    resolved("ext.example", { script: refusing }).outcome,
    'NAME_NOT_RESOLVED Cannot resolve "ext.example": name server 10.0.0.53:53 answers REFUSED',
  );
  const { outcome, asked } = resolved("short", {
    script: () => [],
    resolvConf: "search a.test b.test\noptions timeout:1",
  });
  assertEquals(
    outcome,
    'NAME_NOT_RESOLVED Cannot resolve "short": no answer from name server 10.0.0.53:53 within 1000 ms',
  );
  assertEquals(new Set(asked), new Set(["A short.a.test", "AAAA short.a.test"]), "silence ends it");
});

Deno.test("resolve() ends after LOOKUP_MS_MAX, however slow the name servers", () => {
  const { clock, resolve, outcomes, resolver, udp } = world({
    script: () => [],
    resolvConf: "options timeout:30 attempts:5",
  });
  resolve("ext.example");
  clock.advance(LOOKUP_MS_MAX - 1);
  assertEquals(outcomes, []);
  clock.advance(1);
  assertEquals(outcomes, [
    `NAME_NOT_RESOLVED Cannot resolve "ext.example": no answer within ${LOOKUP_MS_MAX} ms`,
  ]);
  assertEquals(resolver.pendingQuestions, 2);
  resolver.close();
  assertEquals([resolver.pendingQuestions, udp.openUdpSockets, clock.pendingTimers], [0, 0, 0]);
});

const SEARCH = "search ns.svc.cluster.local svc.cluster.local\noptions ndots:5";

Deno.test("resolve() goes through the search list as ndots says", () => {
  const script = zone({ "A db.svc.cluster.local": ["10.0.0.5"] });
  const { outcome, asked } = resolved("db", { script, resolvConf: SEARCH, ipv6Enabled: false });
  assertEquals(outcome, ["10.0.0.5"]);
  assertEquals(asked, ["A db.ns.svc.cluster.local", "A db.svc.cluster.local"]);
  const whole = resolved("db.", { script, resolvConf: SEARCH, ipv6Enabled: false });
  assertEquals(whole.asked, ["A db"]);
  const long = resolved("a.b.c.d.e", { script, resolvConf: SEARCH, ipv6Enabled: false });
  assertEquals(long.asked, [
    "A a.b.c.d.e.ns.svc.cluster.local",
    "A a.b.c.d.e.svc.cluster.local",
    "A a.b.c.d.e",
  ]);
  const longer = resolved("a.b.c.d.e.f", { script, resolvConf: SEARCH, ipv6Enabled: false });
  assertEquals(longer.asked[0], "A a.b.c.d.e.f");
});

Deno.test("resolve() remembers on its way that a name exists, without addresses", () => {
  const script = zone({ "TXT db.ns.svc.cluster.local": ["x"] });
  assertEquals(resolved("db", { script, resolvConf: SEARCH }).outcome, []);
});

Deno.test("resolve() tries the next name after a server failure", () => {
  const script: Script = (asked) =>
    asked.name === "db.svc.cluster.local"
      ? zone({ "A db.svc.cluster.local": ["10.0.0.5"] })(asked)
      : [{ bytes: reply(asked, { rcode: 2 }) }];
  assertEquals(resolved("db", { script, resolvConf: SEARCH }).outcome, ["10.0.0.5"]);
});

Deno.test.each([
  { hostname: "localhost", expected: ["127.0.0.1", "::1"] },
  { hostname: "App.LocalHost.", expected: ["127.0.0.1", "::1"] },
  { hostname: "10.0.0.1", expected: ["10.0.0.1"] },
  { hostname: "FD00::0001", expected: ["fd00::1"] },
  { hostname: "db", expected: ["10.0.0.7", "fd00::7"] },
  { hostname: "cache", expected: ["10.0.0.8"] },
  { hostname: "x.onion", expected: 'NAME_NOT_RESOLVED Cannot resolve "x.onion": no such name' },
  { hostname: "invalid", expected: 'NAME_NOT_RESOLVED Cannot resolve "invalid": no such name' },
  { hostname: "a b", expected: 'NAME_NOT_RESOLVED Cannot resolve "a b": it is no host name' },
  { hostname: "", expected: 'NAME_NOT_RESOLVED Cannot resolve "": it is no host name' },
])("resolve($hostname) asks no name server", ({ hostname, expected }) => {
  const { outcome, asked } = resolved(hostname, {
    hosts: "10.0.0.7 db\nfd00::7 db\n10.0.0.8 cache.svc.cluster.local",
    resolvConf: SEARCH,
  });
  assertEquals(outcome, expected);
  assertEquals(asked, []);
});

Deno.test("resolve() leaves IPv6 out of what it knows itself with IPV6_ENABLED=false", () => {
  const options = { hosts: "10.0.0.7 db\nfd00::7 db six", ipv6Enabled: false };
  assertEquals(resolved("localhost", options).outcome, ["127.0.0.1"]);
  assertEquals(resolved("db", options).outcome, ["10.0.0.7"]);
  assertEquals(resolved("six", options).outcome, []);
});

Deno.test("resolve() asks once for a thousand who want to know, and then not at all", () => {
  const { clock, udp, resolve, outcomes } = world({ script: EXT });
  for (let at = 0; at < 1_000; at++) resolve("ext.example");
  clock.runUntilIdle();
  resolve("ext.example");
  clock.runUntilIdle();
  assertEquals([outcomes.length, udp.asked.length], [1_001, 2]);
});

Deno.test("resolve() refuses more than LOOKUPS_MAX at once", () => {
  const { clock, resolve, resolver, outcomes } = world({ script: () => [] });
  const lookups = Array.from({ length: LOOKUPS_MAX }, () => resolve("ext.example"));
  clock.runUntilIdle();
  assertEquals(outcomes, []);
  resolve("ext.example");
  clock.runUntilIdle();
  assertEquals(outcomes, [
    `NAME_NOT_RESOLVED Cannot resolve "ext.example": more than ${LOOKUPS_MAX} look-ups at once`,
  ]);
  lookups[0]!.cancel();
  resolve("ext.example");
  clock.runUntilIdle();
  assertEquals(outcomes.length, 1);
  resolver.close();
  assertEquals(clock.pendingTimers, 0);
});

Deno.test("resolve() that is cancelled says nothing", () => {
  const { clock, resolve, outcomes, resolver } = world({ script: EXT });
  for (const hostname of ["ext.example", "localhost", "x.onion"]) resolve(hostname).cancel();
  const twice = resolve("ext.example");
  clock.runUntilIdle();
  twice.cancel();
  assertEquals(outcomes.length, 1);
  assertEquals([resolver.pendingQuestions, clock.pendingTimers], [0, 0]);
});

Deno.test("HostResolver works on real sockets, with a port of its own for each question", async () => {
  await using server = await LoopbackNameServer.start(EXT);
  const clock = new SystemClock();
  const udp = new DenoUdp({ clock });
  const resolver = new HostResolver({
    config: { ...parseResolvConf("nameserver 127.0.0.1"), servers: [server.address] },
    hosts: new Map(),
    ipv6Enabled: true,
    udp,
    network: new DenoNetwork({ clock }),
    clock,
    random: new SystemRandom(),
  });
  const outcome = await new Promise((done) => resolver.resolve("ext.example", done));
  assertEquals(outcome, ["1.1.1.1", "2001:db8::1"]);
  assertEquals(new Set(server.asked.map(({ client }) => client.port)).size, 2);
  assertEquals([udp.openUdpSockets, clock.waiting], [0, 0]);
});

// Tests of exchange.ts: several name servers, tries, aliases.
import { assertEquals } from "@std/assert";
import { NetError, ProxyError } from "../base/errors.ts";
import { SeededRandom } from "../base/random.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import {
  type Asked,
  NO_TCP,
  PretendUdp,
  reply,
  type Script,
  zone,
} from "../../tests/support/name_servers.ts";
import type { Answer } from "./answer.ts";
import { Exchange, type NoAnswerError, SERVERS_ASKED_MAX } from "./exchange.ts";
import { NameServers } from "./name_servers.ts";
import { parseResolvConf } from "./resolv_conf.ts";
import { ALIASES_MAX } from "./wire.ts";

const KNOWN = { "A ext.example": ["1.1.1.1"] };
const refuse = (rcode: number): Script => (asked) => [{ bytes: reply(asked, { rcode }) }];

/** Servers 10.0.0.1, 10.0.0.2, … each with its script, and an exchange that has begun. */
function exchange(scripts: readonly Script[], options = "") {
  const clock = new VirtualClock();
  const lines = scripts.map((_, at) => `nameserver 10.0.0.${at + 1}`);
  const config = parseResolvConf(`${lines.join("\n")}\noptions ${options}\n`);
  const scriptOf = ({ server }: Asked) => scripts[Number(server.ip.split(".")[3]) - 1]!;
  const udp = new PretendUdp(clock, (asked) => scriptOf(asked)(asked));
  const outcomes: (Answer | ProxyError)[] = [];
  const servers = new NameServers(config.servers, clock);
  const parts = { config, udp, network: NO_TCP, clock, random: new SeededRandom(1), servers };
  const running = new Exchange(
    { name: "ext.example", type: "A" },
    parts,
    (outcome) => outcomes.push(outcome),
  );
  const askedServers = () => udp.asked.map(({ server }) => Number(server.ip.split(".")[3]));
  return { clock, udp, outcomes, running, askedServers, servers };
}

const found = (ttlMs = 60_000): Answer => ({ kind: "OK", addresses: ["1.1.1.1"], ttlMs });

Deno.test("Exchange asks SERVERS_ASKED_MAX servers at once and takes the first answer", () => {
  const slow = zone(KNOWN, { afterMs: 50 });
  const quick = zone(KNOWN, { afterMs: 20 });
  const { clock, udp, outcomes, askedServers, servers } = exchange([slow, quick, quick]);
  clock.runUntilIdle();
  assertEquals(askedServers(), [1, 2]);
  assertEquals(udp.openUdpSockets, SERVERS_ASKED_MAX);
  clock.advance(20);
  assertEquals(outcomes, [found()]);
  assertEquals(udp.openUdpSockets, 0, "the slow one is not waited for");
  clock.advance(30);
  assertEquals([outcomes.length, clock.pendingTimers], [1, 0]);
  assertEquals(servers.ranked().map(({ ip }) => ip).includes("10.0.0.3"), true);
});

Deno.test("Exchange goes to the next server where one fails", () => {
  const { clock, outcomes, askedServers } = exchange([refuse(2), refuse(5), zone(KNOWN)]);
  clock.runUntilIdle();
  assertEquals(askedServers(), [1, 2, 3]);
  assertEquals(outcomes, [found()]);
});

Deno.test.each([
  { options: "attempts:0", tries: 1 },
  { options: "", tries: 3 },
  { options: "attempts:5", tries: 6 },
])("Exchange asks $tries times with options '$options'", ({ options, tries }) => {
  const { clock, outcomes, askedServers } = exchange([refuse(2)], options);
  clock.runUntilIdle();
  assertEquals(askedServers().length, tries);
  const error = outcomes[0] as NoAnswerError;
  assertEquals(error.message, "name server 10.0.0.1:53 answers SERVFAIL");
  assertEquals(error.isSilence, false);
});

Deno.test("Exchange waits out every try where nobody answers", () => {
  const { clock, udp, outcomes, askedServers } = exchange(
    [() => [], () => []],
    "timeout:2 attempts:1",
  );
  clock.advance(3_999);
  assertEquals(outcomes, []);
  clock.advance(1);
  const error = outcomes[0] as NoAnswerError;
  assertEquals(error.message, "no answer from name server 10.0.0.2:53 within 2000 ms");
  assertEquals([error.code, error.isSilence], ["NO_ANSWER", true]);
  assertEquals(askedServers().toSorted(), [1, 1, 2, 2]);
  assertEquals([udp.openUdpSockets, clock.pendingTimers], [0, 0]);
});

Deno.test("Exchange hears a server that answers the second time", () => {
  let asked = 0;
  const { clock, outcomes } = exchange([(question) => ++asked === 1 ? [] : zone(KNOWN)(question)]);
  clock.advance(5_000);
  assertEquals(outcomes, [found()]);
});

Deno.test("Exchange says what the network said", () => {
  const { clock, outcomes } = exchange([() => new NetError("ENETUNREACH")]);
  clock.runUntilIdle();
  const error = outcomes[0] as NoAnswerError;
  assertEquals(error.message, "name server 10.0.0.1:53: Network is unreachable (os error 101)");
  assertEquals(error.isSilence, true);
});

Deno.test("Exchange follows aliases that lead out of a reply, by the smallest TTL", () => {
  const script: Script = (asked) => {
    if (asked.name !== "ext.example") return zone({ "A b.test": ["1.1.1.1"] })(asked);
    return [{ bytes: reply(asked, { answers: [{ type: "CNAME", data: "b.test", ttl: 7 }] }) }];
  };
  const { clock, udp, outcomes } = exchange([script]);
  clock.runUntilIdle();
  assertEquals(udp.asked.map(({ name }) => name), ["ext.example", "b.test"]);
  assertEquals(outcomes, [found(7_000)]);
});

Deno.test("Exchange follows ALIASES_MAX aliases and no circle", () => {
  const chain = (length: number): Script => (asked) => {
    const at = asked.name === "ext.example" ? 0 : Number(asked.name.slice(1));
    const answers = at === length
      ? [{ type: "A", data: "1.1.1.1" }]
      : [{ type: "CNAME", data: `n${at + 1}` }];
    return [{ bytes: reply(asked, { answers }) }];
  };
  for (const [length, isFound] of [[ALIASES_MAX, true], [ALIASES_MAX + 1, false]] as const) {
    const { clock, outcomes } = exchange([chain(length)]);
    clock.runUntilIdle();
    assertEquals(outcomes.length, 1);
    assertEquals(outcomes[0] instanceof ProxyError, !isFound);
  }
  const circle: Script = (asked) => [{
    bytes: reply(asked, { answers: [{ type: "CNAME", data: asked.name === "a" ? "b" : "a" }] }),
  }];
  const { clock, udp, outcomes } = exchange([circle]);
  clock.runUntilIdle();
  assertEquals((outcomes[0] as NoAnswerError).message, "more than 16 aliases, the last one a");
  assertEquals(udp.openUdpSockets, 0);
});

Deno.test("Exchange that is cancelled leaves nothing", () => {
  const { clock, udp, outcomes, running } = exchange([() => [], () => []]);
  clock.runUntilIdle();
  running.cancel();
  clock.advance(60_000);
  assertEquals([outcomes.length, udp.openUdpSockets, clock.pendingTimers], [0, 0, 0]);
});

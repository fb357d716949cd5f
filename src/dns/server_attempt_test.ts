// Tests of server_attempt.ts: forgers, silence, and TCP for what does not fit.
import { assert, assertEquals } from "@std/assert";
import { parseSocketAddress, type SocketAddress } from "../base/address.ts";
import { NetError, type ProxyError } from "../base/errors.ts";
import { SeededRandom, SystemRandom } from "../base/random.ts";
import { SystemClock } from "../base/system_clock.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { DenoNetwork } from "../net/deno/deno_network.ts";
import { DenoUdp } from "../net/deno/udp_socket.ts";
import {
  type Asked,
  LoopbackNameServer,
  NO_TCP,
  PretendUdp,
  reply,
  type Script,
  zone,
} from "../../tests/support/name_servers.ts";
import type { Question } from "./answer.ts";
import { parseResolvConf } from "./resolv_conf.ts";
import {
  type Conclusion,
  FOREIGN_DATAGRAMS_MAX,
  localFor,
  resolverAddresses,
  ServerAttempt,
  TCP_CONNECT_MS_MAX,
} from "./server_attempt.ts";

const SERVER = { ip: "10.0.0.53", port: 53 };
const QUESTION: Question = { name: "ext.example", type: "A" };
const CONFIG = parseResolvConf("nameserver 10.0.0.53\n");
const KNOWN = { "A ext.example": ["1.1.1.1"] };
const FOUND: Conclusion = {
  kind: "answer",
  answer: { kind: "OK", addresses: ["1.1.1.1"], ttlMs: 60_000 },
};

/** An attempt on pretended sockets, and what came of it. */
function attempt(script: Script) {
  const clock = new VirtualClock();
  const udp = new PretendUdp(clock, script);
  const outcomes: (Conclusion | ProxyError)[] = [];
  const parts = { config: CONFIG, udp, network: NO_TCP, clock, random: new SeededRandom(1) };
  const running = new ServerAttempt(QUESTION, SERVER, parts, (outcome) => outcomes.push(outcome));
  return { clock, udp, outcomes, running };
}

const honest = (asked: Asked) => reply(asked, { answers: [{ type: "A", data: "1.1.1.1" }] });
const forged = (asked: Asked, id = asked.id) =>
  reply(asked, { id, answers: [{ type: "A", data: "6.6.6.6" }] });

Deno.test("ServerAttempt asks and hears", () => {
  const { clock, udp, outcomes } = attempt(zone(KNOWN));
  clock.runUntilIdle();
  assertEquals(outcomes, [FOUND]);
  assertEquals([udp.openUdpSockets, clock.pendingTimers], [0, 0]);
});

Deno.test.each([
  { name: "with another id", script: (asked: Asked) => [{ bytes: forged(asked, asked.id ^ 1) }] },
  {
    name: "from another address",
    script: (asked: Asked) => [{ bytes: forged(asked), from: { ip: "10.0.0.54", port: 53 } }],
  },
  {
    name: "from another port",
    script: (asked: Asked) => [{ bytes: forged(asked), from: { ...SERVER, port: 5353 } }],
  },
  {
    name: "about another name",
    script: (asked: Asked) => [{ bytes: forged({ ...asked, name: "ext.examplf" }) }],
  },
  { name: "that is our own question", script: ({ bytes }: Asked) => [{ bytes }] },
  { name: "of 3 octets", script: () => [{ bytes: new Uint8Array(3) }] },
  { name: "of no octets", script: () => [{ bytes: new Uint8Array(0) }] },
  {
    name: "of 64 KiB",
    script: (asked: Asked) => [{ bytes: new Uint8Array(65_000).fill(asked.id) }],
  },
])("ServerAttempt waits on after a datagram $name", ({ script }) => {
  const { clock, udp, outcomes } = attempt((asked) => [
    ...script(asked),
    { bytes: honest(asked), afterMs: 10 },
  ]);
  clock.runUntilIdle();
  assertEquals(outcomes, []);
  clock.advance(10);
  assertEquals(outcomes, [FOUND]);
  assertEquals([udp.openUdpSockets, clock.pendingTimers], [0, 0]);
});

Deno.test.each([FOREIGN_DATAGRAMS_MAX, FOREIGN_DATAGRAMS_MAX + 1])(
  "ServerAttempt endures FOREIGN_DATAGRAMS_MAX of %i guesses",
  (guesses) => {
    const { clock, udp, outcomes } = attempt((asked) => [
      ...Array.from(
        { length: guesses },
        (_, at) => ({ bytes: forged(asked, asked.id + 1 + at & 0xffff) }),
      ),
      { bytes: honest(asked), afterMs: 1 },
    ]);
    clock.advance(1);
    assertEquals(outcomes.length, 1);
    if (guesses === FOREIGN_DATAGRAMS_MAX) assertEquals(outcomes, [FOUND]);
    else assertEquals((outcomes[0] as ProxyError).code, "BAD_REPLY");
    assertEquals([udp.openUdpSockets, clock.pendingTimers], [0, 0]);
  },
);

Deno.test("ServerAttempt gives up after the timeout of resolv.conf", () => {
  const { clock, udp, outcomes } = attempt(() => []);
  clock.advance(4_999);
  assertEquals(outcomes, []);
  clock.advance(1);
  assertEquals((outcomes[0] as ProxyError).code, "DEADLINE_ELAPSED");
  assertEquals([udp.openUdpSockets, clock.pendingTimers], [0, 0]);
});

Deno.test("ServerAttempt fails with what the socket says", () => {
  const { clock, outcomes } = attempt(() => new NetError("ENETUNREACH"));
  clock.runUntilIdle();
  assertEquals((outcomes[0] as ProxyError).code, "ENETUNREACH");
  assertEquals(clock.pendingTimers, 0);
});

Deno.test("ServerAttempt that is cancelled closes everything and says nothing", () => {
  for (const turns of [0, 1, 2]) {
    const { clock, udp, outcomes, running } = attempt(zone(KNOWN));
    for (let turn = 0; turn < turns; turn++) clock.runTurn();
    const heard = outcomes.length;
    running.cancel();
    clock.advance(10_000);
    assertEquals(outcomes.length, heard);
    assertEquals([udp.openUdpSockets, clock.pendingTimers], [0, 0]);
  }
});

Deno.test("ServerAttempt draws each question's id and port", () => {
  const clock = new VirtualClock();
  const udp = new PretendUdp(clock, zone(KNOWN));
  const parts = { config: CONFIG, udp, network: NO_TCP, clock, random: new SeededRandom(7) };
  for (let at = 0; at < 32; at++) new ServerAttempt(QUESTION, SERVER, parts, () => {});
  clock.runUntilIdle();
  const ids = udp.asked.map(({ id }) => id);
  assertEquals(new Set(ids).size > 30, true, "no two alike, but for chance");
  assertEquals(ids.some((id) => id > 0xff) && ids.every((id) => id <= 0xffff), true);
  assertEquals(new Set(udp.asked.map(({ client }) => client.port)).size, 32);
});

/** An attempt on loopback's real sockets. */
async function realAttempt(server: SocketAddress, timeout = 5): Promise<Conclusion | ProxyError> {
  const clock = new SystemClock();
  const udp = new DenoUdp({ clock });
  const network = new DenoNetwork({ clock });
  const config = {
    ...parseResolvConf(`nameserver 127.0.0.1\noptions timeout:${timeout}`),
    servers: [server],
  };
  const outcome = await new Promise<Conclusion | ProxyError>((resolve) => {
    new ServerAttempt(
      QUESTION,
      server,
      { config, udp, network, clock, random: new SystemRandom() },
      resolve,
    );
  });
  assertEquals([udp.openUdpSockets, clock.waiting], [0, 0]);
  return outcome;
}

Deno.test("ServerAttempt asks a real server by UDP", async () => {
  await using server = await LoopbackNameServer.start(zone(KNOWN));
  assertEquals(await realAttempt(server.address), FOUND);
  assertEquals(server.asked.map(({ via }) => via), ["udp"]);
});

const large = Array.from({ length: 200 }, (_, at) => ({ type: "A", data: `10.0.0.${at}` }));

Deno.test("ServerAttempt asks again by TCP, with another id, where the reply does not fit", async () => {
  await using server = await LoopbackNameServer.start((asked) => [{
    bytes: asked.via === "udp"
      ? reply(asked, { truncated: true, answers: large.slice(0, 5) })
      : reply(asked, { answers: large }),
  }]);
  const outcome = await realAttempt(server.address);
  assert("kind" in outcome && outcome.kind === "answer");
  assertEquals((outcome as Conclusion & { kind: "answer" }).answer.addresses.length, 200);
  assertEquals(server.asked.map(({ via }) => via), ["udp", "tcp"]);
  assertEquals(server.asked[0]!.id === server.asked[1]!.id, false);
});

Deno.test.each([
  { name: "of another id", back: (asked: Asked) => reply(asked, { id: asked.id ^ 1 }) },
  { name: "of nothing", back: () => new Uint8Array(0) },
  { name: "of noise", back: () => new Uint8Array(60_000).fill(0xc0) },
])("ServerAttempt fails at a reply $name by TCP", async ({ back }) => {
  await using server = await LoopbackNameServer.start((asked) => [{
    bytes: asked.via === "udp" ? reply(asked, { truncated: true }) : back(asked),
  }]);
  assertEquals((await realAttempt(server.address) as ProxyError).code, "BAD_REPLY");
});

Deno.test("ServerAttempt gives TCP the timeout, too", async () => {
  await using server = await LoopbackNameServer.start((asked) =>
    asked.via === "udp" ? [{ bytes: reply(asked, { truncated: true }) }] : []
  );
  assertEquals((await realAttempt(server.address, 1) as ProxyError).code, "DEADLINE_ELAPSED");
  assertEquals(TCP_CONNECT_MS_MAX, 5_000);
});

Deno.test("resolverAddresses() lists what the sandbox must grant", () => {
  const servers = ["10.96.0.10:53", "127.0.0.53:53", "[fd00::10]:53", "10.96.0.11:53"]
    .map((text) => parseSocketAddress(text)!);
  assertEquals(resolverAddresses(servers), [
    { ip: "10.96.0.10", port: 53 },
    { ip: "0.0.0.0", port: 0 },
    { ip: "127.0.0.53", port: 53 },
    { ip: "127.0.0.1", port: 0 },
    { ip: "fd00::10", port: 53 },
    { ip: "::", port: 0 },
    { ip: "10.96.0.11", port: 53 },
  ]);
  assertEquals(localFor("::1"), { ip: "::1", port: 0 });
});

// Rows T1-T6 (spec/data-path §3.5): with whose address the application is dialled.
import { assertEquals } from "@std/assert";
import { DataPlaneWorld, NotedEvents, SERVER_IP } from "../../tests/support/data_plane_world.ts";
import { testParts } from "../../tests/support/hbone_peer.ts";
import type { Channel } from "../base/channel.ts";
import { DeadlineError, NetError, ProxyError } from "../base/errors.ts";
import type { DialOptions } from "../net/network.ts";
import { type ApplicationTarget, dialApplication } from "./application_dial.ts";

const APP = { ip: SERVER_IP, port: 8080 };
const CLIENT_IP = "10.0.0.9";
const KEEPALIVE = { idleMs: 180_000, intervalMs: 180_000, probes: 9 };

/** Dials with a network that notes and fails as told, before it is asked. */
async function dialled(
  application: Partial<ApplicationTarget> = {},
  failures: readonly ProxyError[] = [],
) {
  const world = await DataPlaneWorld.create({ transparent: true });
  world.app(APP);
  const events = new NotedEvents();
  const settings = { keepalive: KEEPALIVE, userTimeoutMs: 1_800_000 };
  const parts = testParts(world, { ip: SERVER_IP, events, settings });
  const asked: DialOptions[] = [];
  const left = [...failures];
  const network = Object.assign(Object.create(parts.network), {
    dial(...[address, options, done]: Parameters<typeof parts.network.dial>) {
      asked.push(options);
      const failure = left.shift();
      if (failure === undefined) {
        return parts.network.dial({ ...address, ip: SERVER_IP }, options, done);
      }
      const timer = world.clock.after(10, () => done(failure));
      return { cancel: () => timer.cancel() };
    },
  });
  const outcomes: (Channel | ProxyError)[] = [];
  const cancel = dialApplication(
    { target: APP, fromIp: null, clientIp: CLIENT_IP, logScope: "test", ...application },
    { ...parts, network },
    (outcome) => outcomes.push(outcome),
  );
  return { world, events, asked, outcomes, cancel };
}

Deno.test("dialApplication() asks for 10 s, keepalive and user timeout, in the client's name (T1)", async () => {
  const { world, asked, outcomes } = await dialled();
  world.clock.advance(100);
  assertEquals(asked, [{
    timeoutMs: 10_000,
    keepalive: KEEPALIVE,
    userTimeoutMs: 1_800_000,
    sourceIp: CLIENT_IP,
    spoof: true,
  }]);
  assertEquals(outcomes.map((outcome) => outcome instanceof ProxyError), [false]);
});

Deno.test.each([
  { name: "nobody's name (T2)", clientIp: null, ip: SERVER_IP },
  { name: "a client that is the application (T3)", clientIp: SERVER_IP, ip: SERVER_IP },
  { name: "a client of another family", clientIp: "fd00::9", ip: SERVER_IP },
  { name: "a tunnel on loopback (T4)", clientIp: CLIENT_IP, ip: "127.0.0.1" },
  { name: "a tunnel on IPv6 loopback (T4)", clientIp: "fd00::9", ip: "::1" },
])("dialApplication() dials from its own address for $name", async ({ clientIp, ip }) => {
  const { world, asked, events } = await dialled({ clientIp, target: { ip, port: 8080 } });
  world.clock.advance(100);
  assertEquals(asked.map(({ sourceIp, spoof }) => [sourceIp, spoof]), [[null, false]]);
  assertEquals(events.messages, []);
});

Deno.test.each([
  { ip: "127.0.0.1", clientIp: CLIENT_IP },
  { ip: "::1", clientIp: "fd00::9" },
])(
  "dialApplication() dials $ip from the address the route names, never the client's (T4)",
  async ({ ip, clientIp }) => {
    const application = { clientIp, target: { ip, port: 15088 }, fromIp: ip };
    const { world, asked, events } = await dialled(application, [new NetError("EADDRNOTAVAIL")]);
    world.clock.advance(100);
    assertEquals(asked.map(({ sourceIp, spoof }) => [sourceIp, spoof]), [[ip, false]]);
    assertEquals(events.messages, []);
  },
);

Deno.test.each(["EPERM", "EACCES", "EADDRNOTAVAIL", "EADDRINUSE", "EINVAL", "ENOPROTOOPT"])(
  "dialApplication() tries once more from its own address after %s, and says why (T6)",
  async (code) => {
    const { world, asked, events, outcomes } = await dialled({}, [new NetError(code)]);
    world.clock.advance(100);
    assertEquals(asked.map(({ sourceIp, spoof }) => [sourceIp, spoof]), [
      [CLIENT_IP, true],
      [null, false],
    ]);
    assertEquals(events.messages, [
      `warn test: cannot use the source address ${CLIENT_IP}: ${new NetError(code).message}`,
    ]);
    assertEquals(outcomes.map((outcome) => outcome instanceof ProxyError), [false]);
  },
);

Deno.test.each<{ readonly failures: ProxyError[]; readonly name: string }>([
  { name: "an application that refuses", failures: [new NetError("ECONNREFUSED")] },
  { name: "a deadline", failures: [new DeadlineError()] },
  { name: "a second refusal", failures: [new NetError("EPERM"), new NetError("EPERM")] },
])("dialApplication() gives up at $name", async ({ failures }) => {
  const { world, asked, outcomes } = await dialled({}, failures);
  world.clock.advance(100);
  assertEquals(asked.length, failures.length);
  assertEquals(outcomes, [failures.at(-1)!]);
});

Deno.test("dialApplication() cancelled in its second try calls nobody and leaves nothing", async () => {
  const { world, asked, outcomes, cancel } = await dialled({}, [
    new NetError("EPERM"),
    new NetError("EPERM"),
  ]);
  world.clock.advance(10);
  assertEquals(asked.length, 2);
  cancel.cancel();
  world.clock.advance(60_000);
  assertEquals([outcomes.length, world.clock.pendingTimers], [0, 0]);
});

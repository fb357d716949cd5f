// Double HBONE on real sockets with real TLS: two data planes with a gateway's stand-in between them (spec/data-path §1.11).
import { assertEquals } from "@std/assert";
import { ProxyError } from "../../src/base/errors.ts";
import type { DoubleHboneHop } from "../../src/seam/route.ts";
import { identityOf, SERVER } from "../support/data_plane_world.ts";
import { issueCertificate, meshIdentity } from "../support/fixed_certificates.ts";
import { GatewayPeer } from "../support/gateway_peer.ts";
import { echoes, LoopbackPlanes } from "../support/loopback_planes.ts";
import { TEST_NETWORK } from "../support/networks.ts";
import { fixedSource, until } from "../support/real_sockets.ts";
import { writeAll } from "../support/socks5.ts";

const AUTHORITY = "example.com:80";
/** What the application asks for: a service's VIP. */
const VIP = { ip: "127.255.0.3", port: 80 };
const GATEWAY = meshIdentity("istio-system", "gateway");

/** Two data planes that reach each other through a gateway alone. */
class TwoNetworks implements AsyncDisposable {
  readonly planes: LoopbackPlanes;
  readonly gateway: GatewayPeer;

  private constructor(planes: LoopbackPlanes, gateway: GatewayPeer) {
    this.planes = planes;
    this.gateway = gateway;
  }

  static async start(change: Partial<DoubleHboneHop> = {}): Promise<TwoNetworks> {
    const planes = await LoopbackPlanes.start({ client: { settings: { network: "home" } } });
    const ip = planes.clientIp.replace(/\d+$/, "3");
    const certificate = await issueCertificate(planes.ca, { uris: [GATEWAY.uri] });
    const gateway = await new Promise<GatewayPeer>((resolve) => {
      const opened: GatewayPeer = new GatewayPeer({
        network: planes.network,
        clock: planes.clock,
        certificates: fixedSource(certificate),
        address: { ip, port: 15008 },
        targets: new Map([[AUTHORITY, { ip: planes.serverIp, port: 15008 }]]),
        sourceIp: ip,
      }, () => resolve(opened));
    });
    route(planes, {
      protocol: "DOUBLEHBONE",
      peer: { ip, port: 15008 },
      authority: AUTHORITY,
      expected: [GATEWAY],
      innerExpected: [identityOf(SERVER)],
      ...change,
    });
    return new TwoNetworks(planes, gateway);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.gateway.close();
    await this.planes[Symbol.asyncDispose]();
  }
}

/** Outbound over `hop`; inbound, the service is the echo. */
function route({ router, appAddress }: LoopbackPlanes, hop: DoubleHboneHop): void {
  const outbound = router.outbound.bind(router);
  router.outbound = (question, done) =>
    outbound(question, (outcome) => {
      if (outcome instanceof ProxyError) return done(outcome);
      done({ ...outcome, candidates: [{ weight: 1, hop, destination: null }] });
    });
  const inbound = router.inbound.bind(router);
  router.inbound = (question, done) =>
    inbound({ ...question, authority: { kind: "address", address: appAddress } }, done);
}

Deno.test(
  `[${TEST_NETWORK}] octets cross two networks; one connection to the gateway, an inner one for each call`,
  async () => {
    await using networks = await TwoNetworks.start();
    const { planes: { client, server }, planes, gateway } = networks;
    const users = [await planes.connect(VIP), await planes.connect(VIP)];
    await Promise.all(users.map((user) => echoes(user, 1_000_000)));
    assertEquals([gateway.connections.length, gateway.spliced], [1, 2]);
    assertEquals(server.plane.statsNow().inboundTransports, 2);
    for (const user of users) {
      await user.closeWrite();
      assertEquals(await user.read(new Uint8Array(1)), null);
      user.close();
    }
    await until(() => client.events.ends.length === 2 && server.events.ends.length === 2);
    assertEquals([...client.events.ends, ...server.events.ends], Array(4).fill("-: ok"));

    const { record: { facts, bytesToServer, bytesToClient } } = client.events.closedRecords[0]!;
    assertEquals([facts.protocol, facts.hboneAuthority], ["DOUBLEHBONE", AUTHORITY]);
    assertEquals([bytesToServer, bytesToClient], [1_000_000, 1_000_000]);
    assertEquals(facts.destinationBaggage!.workloadName, "server");
    assertEquals(facts.destinationIdentity!.uri, identityOf(SERVER).uri);
    const far = server.events.closedRecords[0]!.record.facts;
    assertEquals([far.source, far.sourceBaggage!.workloadName], [null, "client"]);
    assertEquals(far.hboneAuthority, AUTHORITY);

    await until(() => server.plane.statsNow().inboundTransports === 0 && gateway.spliced === 0);
    const { outboundTransports, pooled, streams } = client.plane.statsNow();
    assertEquals({ outboundTransports, pooled, streams, open: gateway.open }, {
      outboundTransports: 1,
      pooled: 1,
      streams: 0,
      open: 1,
    });
  },
);

Deno.test.each<{ readonly name: string; readonly change: Partial<DoubleHboneHop> }>([
  { name: "is somebody else", change: { innerExpected: [meshIdentity("default", "other")] } },
  { name: "cannot be anybody", change: { innerExpected: [] } },
])(`[${TEST_NETWORK}] a far proxy that $name is not spoken to`, async ({ change }) => {
  await using networks = await TwoNetworks.start(change);
  const { planes, gateway } = networks;
  const user = await planes.connect(VIP);
  assertEquals(await user.read(new Uint8Array(1)).catch(() => null), null);
  user.close();
  const { events, plane } = planes.client;
  await until(() => events.ends.length === 1);
  const expected = (change.innerExpected ?? []).map(({ uri }) => uri).join();
  assertEquals(events.ends, [
    "CONNECT: io error: invalid peer certificate: Other(OtherError(identity verification error: " +
    `peer did not present the expected SAN (${expected}), got ${identityOf(SERVER).uri}))`,
  ]);
  await until(() => gateway.spliced === 0 && plane.statsNow().streams === 0);
  assertEquals([gateway.open, planes.app.accepted], [1, 0]);
});

Deno.test(
  `[${TEST_NETWORK}] an application that resets, and a far side that dies, leave the gateway's connection alone`,
  async () => {
    await using networks = await TwoNetworks.start();
    const { planes, gateway } = networks;
    const { events, plane } = planes.client;
    const resetting = await planes.connect(VIP);
    await echoes(resetting, 10);
    await writeAll(resetting, new Uint8Array(1_000));
    resetting.close(); // The echo comes to a closed socket.
    await until(() => events.ends.length === 1 && plane.statsNow().streams === 0);
    const orphan = await planes.connect(VIP);
    await echoes(orphan, 10);
    await new Promise<void>((resolve) => planes.server.plane.stop(resolve));
    assertEquals(await orphan.read(new Uint8Array(1)).catch(() => null), null);
    orphan.close();
    await until(() => events.ends.length === 2 && plane.statsNow().streams === 0);
    assertEquals([gateway.open, gateway.connections.length], [1, 1]);
  },
);

// XDS_ON_DEMAND through whole proxies: a connection waits for the answer about its address, and goes where that says.
import { assert, assertEquals } from "@std/assert";
import { serveName } from "../support/named_app.ts";
import { TEST_NETWORK } from "../support/networks.ts";
import { visit } from "../support/traffic.ts";
import { configDump, readiness, XdsMesh } from "../support/xds_mesh.ts";
import { describeHeard } from "../support/xds_server.ts";

const ON_DEMAND = { XDS_ON_DEMAND: "true", ISTIO_META_DNS_CAPTURE: "false" };

Deno.test(`[${TEST_NETWORK}] a connection asks for the address it goes to, and waits for the answer`, async () => {
  await using mesh = await XdsMesh.start();
  await mesh.explain(async () => {
    const { server } = mesh;
    await using app = serveName(mesh.ip(2), "app");
    const pod = (name: string, host: number, more = {}) => ({
      name,
      serviceAccount: name,
      node: `node-${name}`,
      workloadIps: [mesh.ip(host)],
      ...more,
    });
    const vip = { ip: mesh.ip(100), port: 80 };
    const backs = { services: { "ns/web.ns.svc": { "80": app.port } } };
    mesh.push({
      workloads: [pod("client", 1), pod("server", 2, backs), pod("stranger", 3)],
      services: [{ hostname: "web.ns.svc", vips: [`/${vip.ip}`], ports: { "80": 80 } }],
    });
    const proxy = (host: number, name: string) =>
      mesh.proxy(host, name, { env: { ...ON_DEMAND, NODE_NAME: `node-${name}` } });
    const [client] = await Promise.all([proxy(1, "client"), proxy(2, "server")]);
    const uids = async () => {
      const { workloads } = await configDump(client) as { workloads: { uid: string }[] };
      return workloads.map(({ uid }) => uid);
    };
    await server.settled(2);
    assertEquals((await readiness(client)).status, 200);
    assertEquals(await uids(), ["c//Pod/ns/client"], "only its own node's, unasked");

    assertEquals(await visit(client.ip, vip), "app");
    assertEquals(await uids(), ["c//Pod/ns/client", "c//Pod/ns/server"]);
    const demands = server.heard.filter(({ kind }) => kind === "demand").map(describeHeard);
    assert(demands.some((line) => line.endsWith(` demand Address +/${vip.ip}`)), demands.join());
    // The server's proxy asks who its peer is.
    assert(demands.some((line) => line.endsWith(` demand Address +/${client.ip}`)), demands.join());

    assertEquals(await visit(client.ip, vip), "app");
    const again = server.heard.filter(({ kind }) => kind === "demand");
    assertEquals(again.length, demands.length, "what is known is not asked for again");

    // Nobody has this address: it is asked for, and then it is an address like any other.
    await using plain = serveName(mesh.ip(9), "plain");
    assertEquals(await visit(client.ip, { ip: mesh.ip(9), port: plain.port }), "plain");
    assert(server.heard.map(describeHeard).some((line) => line.endsWith(` +/${mesh.ip(9)}`)));
    assertEquals(server.violations, []);
  });
});

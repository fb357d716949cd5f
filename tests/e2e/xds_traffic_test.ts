// Traffic follows the control plane: real proxies, a server of the test's own, connections all the while.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { serveName, serveProxied } from "../support/named_app.ts";
import { TEST_NETWORK } from "../support/networks.ts";
import type { ProxyProcess } from "../support/proxy_process.ts";
import { until } from "../support/real_sockets.ts";
import { connectSocks5 } from "../support/socks5.ts";
import { ask, Traffic, visit } from "../support/traffic.ts";
import { configDump, counter, readiness, XdsMesh } from "../support/xds_mesh.ts";
import { TYPE_URLS } from "../support/xds_resources.ts";

const WITHIN_MS = 20_000;
/** Both endpoints of two are drawn in so many connections, but for once in 10^12. */
const VISITS = 40;
const CALLERS = 2;
const VIP_HOST = 100;
const SERVICE = "ns/web.ns.svc.cluster.local";

/** Pods with proxies of their own: client, server and waypoint. */
function pods(mesh: XdsMesh, options: { readonly tunnelPort?: number } = {}) {
  const { tunnelPort } = options;
  const pod = (name: string, host: number) => ({
    name,
    serviceAccount: name,
    workloadIps: [mesh.ip(host)],
  });
  const waypoint = {
    ...pod("waypoint", 3),
    applicationTunnel: { protocol: "PROXY", port: tunnelPort },
  };
  const all = [pod("client", 1), pod("server", 2)];
  return tunnelPort === undefined ? all : [...all, waypoint];
}

/** The service, through a waypoint or not. */
function service(mesh: XdsMesh, options: { readonly waypoint?: number } = {}) {
  const { waypoint } = options;
  return {
    hostname: SERVICE.slice("ns/".length),
    vips: [`/${mesh.ip(VIP_HOST)}`],
    ports: { "80": 80 },
    ...(waypoint === undefined
      ? {}
      : { waypoint: { destination: `/${mesh.ip(waypoint)}`, hboneMtlsPort: 15008 } }),
  };
}

/** An endpoint of the service. */
function endpoint(
  name: string,
  where: { readonly ip: string; readonly port: number },
  options: Readonly<Record<string, unknown>> = {},
) {
  const services = { [SERVICE]: { "80": where.port } };
  return { name, serviceAccount: "server", workloadIps: [where.ip], services, ...options };
}

async function logged(proxy: ProxyProcess, pattern: RegExp): Promise<string> {
  const found = () => proxy.lines.find((line) => pattern.test(line));
  await until(() => found() !== undefined, WITHIN_MS);
  return found()!;
}

/** A test with a mesh of its own. */
function meshTest(
  name: string,
  options: Parameters<typeof XdsMesh.start>[0],
  test: (mesh: XdsMesh) => Promise<void>,
): void {
  Deno.test(`[${TEST_NETWORK}] ${name}`, async () => {
    await using mesh = await XdsMesh.start(options);
    await mesh.explain(test);
  });
}

meshTest(
  "traffic follows endpoints and waypoints, and no connection fails on the way",
  {},
  async (mesh) => {
    const { server } = mesh;
    const [near, far] = [mesh.ip(2), mesh.ip(4)];
    await using one = serveName(near, "one");
    await using two = serveName(far, "two");
    await using three = serveName(near, "three");
    await using tunnel = serveProxied("127.0.0.1", "waypoint");
    const vip = { ip: mesh.ip(VIP_HOST), port: 80 };
    const first = endpoint("first", { ip: near, port: one.port });
    mesh.push({
      workloads: [...pods(mesh, { tunnelPort: tunnel.port }), first],
      services: [service(mesh)],
    });
    const [client] = await Promise.all([
      mesh.proxy(1, "client"),
      mesh.proxy(2, "server"),
      mesh.proxy(3, "waypoint"),
    ]);
    await server.settled(3);
    const lasting = await connectSocks5(client.ip, vip);
    assertEquals(await ask(lasting), "one");

    await using traffic = new Traffic(client.ip, vip, { callers: CALLERS });
    const goesTo = async (what: string, expected: readonly string[]) => {
      await server.settled(3);
      const answers = [...await traffic.next(VISITS)].sort();
      assertEquals(traffic.failures, [], what);
      assertEquals(answers, [...expected].sort(), what);
    };
    await goesTo("from the start", ["one"]);

    const second = endpoint("second", { ip: far, port: two.port }, { protocol: "TCP" });
    mesh.push({ workloads: [second] });
    await goesTo("an endpoint is added", ["one", "two"]);

    mesh.push({ workloads: [{ ...first, status: "Unhealthy" }] });
    await goesTo("the first is unhealthy", ["two"]);

    const moved = endpoint("second", { ip: near, port: three.port });
    mesh.push({ workloads: [moved] });
    await goesTo("the second has moved, behind a proxy", ["three"]);

    mesh.push({ services: [service(mesh, { waypoint: 3 })] });
    await goesTo("a waypoint stands before the service", [`waypoint ${vip.ip}:80`]);

    mesh.push({ services: [service(mesh)] });
    await goesTo("the waypoint is gone", ["three"]);

    mesh.push({ workloads: [first] });
    await goesTo("the first is healthy again", ["one", "three"]);

    server.push({ remove: ["c//Pod/ns/second"] });
    await goesTo("the second is removed", ["one"]);

    server.push({ remove: ["c//Pod/ns/first"] });
    await server.settled(3);
    await until(() => traffic.failures.length > 0, WITHIN_MS);
    // What was open before all this has not noticed.
    assertEquals(await ask(lasting), "one");
    lasting.close();
    assertEquals(server.violations, []);
  },
);

meshTest(
  "policies that are pushed cut connections, and one that is missing is waited for",
  {},
  async (mesh) => {
    const { server } = mesh;
    await using app = serveName(mesh.ip(2), "app");
    const target = { ip: mesh.ip(2), port: app.port };
    const [clientPod, serverPod] = pods(mesh);
    mesh.push({ workloads: [clientPod!, serverPod!] });
    const [client, inbound] = await Promise.all([mesh.proxy(1, "client"), mesh.proxy(2, "server")]);
    await server.settled(2);
    const deny = {
      scope: "Namespace",
      rules: [[[{ principals: [{ Suffix: "/sa/client" }] }]]],
    };

    const open = await connectSocks5(client.ip, target);
    assertEquals(await ask(open), "app");
    mesh.push({ policies: [{ name: "no-client", ...deny }] });
    await server.settled(2);
    const cut = await open.read(new Uint8Array(1)).catch((error) => error);
    assert(cut === null || cut instanceof Deno.errors.ConnectionReset, String(cut));
    open.close();
    await assertRejects(() => visit(client.ip, target));
    server.push({ removePolicies: ["ns/no-client"] });
    await server.settled(2);
    assertEquals(await visit(client.ip, target), "app");

    // Named by the workload before it is told: the connection waits for it, and then it counts.
    server.hold("Authorization");
    const naming = { ...serverPod!, authorizationPolicies: ["ns/late"] };
    const late = { name: "late", ...deny, scope: "WorkloadSelector" };
    mesh.push({ workloads: [naming], policies: [late] });
    await server.settled(2);
    const early = visit(client.ip, target).then(() => "served", () => "refused");
    server.release("Authorization");
    assertEquals(await early, "refused");

    // One that never comes is not waited for for long.
    server.push({ removePolicies: ["ns/late"] });
    await server.settled(2);
    server.hold("Authorization");
    mesh.push({ workloads: [{ ...naming, authorizationPolicies: ["ns/never"] }] });
    await server.settled(2);
    const startMs = performance.now();
    assertEquals(await visit(client.ip, target), "app");
    assert(performance.now() - startMs > 500, "nobody waited");
    await logged(inbound, /ns\/never/);
    assertEquals(server.violations, []);
  },
);

meshTest(
  "without its control plane traffic goes on, and what is told afterwards is only what is new",
  {},
  async (mesh) => {
    const { server } = mesh;
    await using one = serveName(mesh.ip(2), "one");
    await using two = serveName(mesh.ip(2), "two");
    const vip = { ip: mesh.ip(VIP_HOST), port: 80 };
    mesh.push({
      workloads: [...pods(mesh), endpoint("web", { ip: mesh.ip(2), port: one.port })],
      services: [service(mesh)],
      policies: [{ name: "nobody", scope: "Namespace", rules: [] }],
    });
    const [client, inbound] = await Promise.all([mesh.proxy(1, "client"), mesh.proxy(2, "server")]);
    await server.settled(2);
    const dump = await configDump(client);
    const keys = (list: unknown, key: string) =>
      (list as Record<string, unknown>[]).map((item) => item[key]).sort();
    assertEquals(keys(dump["workloads"], "uid"), [
      "c//Pod/ns/client",
      "c//Pod/ns/server",
      "c//Pod/ns/web",
    ]);
    assertEquals(keys(dump["services"], "hostname"), ["web.ns.svc.cluster.local"]);
    assertEquals(keys(dump["policies"], "name"), ["nobody"]);
    for (const proxy of [client, inbound]) {
      await logged(proxy, /Stream established/);
      for (const url of Object.values(TYPE_URLS)) {
        assertEquals(await counter(proxy, `istio_xds_message_total{url="${url}"}`), 1);
      }
      const bytes = `istio_xds_message_bytes_total{url="${TYPE_URLS.Address}"}`;
      assert(await counter(proxy, bytes) > 100);
    }

    await using traffic = new Traffic(client.ip, vip, { callers: CALLERS });
    await server.stop();
    await logged(client, /XDS client (connection )?error|XDS client complete/);
    assertEquals([...await traffic.next(VISITS)], ["one"]);
    assertEquals((await readiness(client)).status, 200);

    mesh.push({ workloads: [endpoint("web", { ip: mesh.ip(2), port: two.port })] });
    const [saidBefore, heardBefore] = [server.said.length, server.heard.length];
    await server.restart();
    await server.settled(2);
    assertEquals([...await traffic.next(VISITS)], ["two"]);
    assertEquals(traffic.failures, []);
    for (const said of server.said.slice(saidBefore)) {
      const expected = said.type === "Address" ? ["c//Pod/ns/web"] : ["ns/nobody"];
      assertEquals([said.set, said.removed], [expected, []]);
    }
    const firsts = server.heard.slice(heardBefore).filter(({ kind }) => kind === "first");
    assertEquals(firsts.length, 4);
    for (const { type, request } of firsts) {
      const names = Object.keys(request["initialVersions"]).length;
      assertEquals(names, type === "Address" ? 4 : 1);
    }
    const ended = "istio_xds_connection_terminations_total";
    const page = await Promise.all(
      ["ConnectionError", "Error", "Reconnect", "Complete"].map((reason) =>
        counter(client, `${ended}{reason="${reason}"}`)
      ),
    );
    assert(page.some((count) => count > 0), page.join());
    assertEquals(server.violations, []);
  },
);

meshTest("a proxy is ready once each type was accepted, over TLS, with its token and its headers", {
  tls: true,
  token: "a token",
}, async (mesh) => {
  const { server } = mesh;
  mesh.push({ workloads: pods(mesh) });
  server.hold("Authorization");
  const tokenFile = `${mesh.folder}/token`;
  await Deno.writeTextFile(tokenFile, "a token");
  const root = `${mesh.folder}/root-cert.pem`;
  let told = { status: 0, text: "" };
  const client = await mesh.proxy(1, "client", {
    env: {
      XDS_ROOT_CA: root,
      AUTH_TOKEN: tokenFile,
      CLUSTER_ID: "cluster-7",
      XDS_HEADER_X_EXTRA: "more",
      INSTANCE_IP: "10.1.2.3",
      POD_NAME: "zt-1",
      POD_NAMESPACE: "istio-system",
      NODE_NAME: "node-1",
      ISTIO_META_CLUSTER_ID: "cluster-7",
      ISTIO_METAJSON_LABELS: '{"app":"zt"}',
    },
    isReady: async () => {
      try {
        told = await readiness({ ip: mesh.ip(1) });
        return told.status !== 0 && server.said.some(({ reply }) => reply === "ack");
      } catch (error) {
        if (error instanceof TypeError) return false; // Not listening yet.
        throw error;
      }
    },
  });
  assertEquals([told.status, told.text.trim()], [500, "not ready, pending: proxy, state manager"]);
  const [stream] = server.openStreams;
  const { authorization, clusterid, x_extra: extra } = stream!.headers;
  assertEquals([authorization, clusterid, extra], ["Bearer a token", "cluster-7", "more"]);
  const { node } = server.heard[0]!.request;
  assertEquals(node.id, "ztunnel~10.1.2.3~zt-1.istio-system~istio-system.svc.cluster.local");
  const { fields } = node.metadata;
  assertEquals(fields["NODE_NAME"], { string: "node-1" });
  assertEquals(fields["CLUSTER_ID"], { string: "cluster-7" });
  assertEquals(fields["LABELS"], { struct: { fields: { app: { string: "zt" } } } });

  server.release("Authorization");
  await until(() => client.lines.some((line) => /marking server ready/.test(line)), WITHIN_MS);
  assertEquals(await readiness(client), { status: 200, text: "ready\n" });
  assertMatch(await logged(client, /Task 'state manager' complete/), /complete \(/);

  // A new token counts from the next stream on; the wrong one keeps it away until it is right again.
  await Deno.writeTextFile(tokenFile, "another");
  server.drop();
  await until(() => server.refused > 0, WITHIN_MS);
  await logged(client, /authentication failure/);
  await Deno.writeTextFile(tokenFile, "a token");
  await server.settled();
  assertEquals(server.violations, []);
});

// The control plane for tests is itself tested with a client that is not the product's.
import { Buffer } from "node:buffer";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import grpc from "@grpc/grpc-js";
import { MeshCa } from "./mesh_ca.ts";
import { meshFileText } from "./mesh_file.ts";
import type { Fields } from "./protobuf.ts";
import { until } from "./real_sockets.ts";
import { resource, resourcesOf, TYPE_URLS, type XdsType } from "./xds_resources.ts";
import { XDS_SERVICE, XdsServer, type XdsServerOptions } from "./xds_server.ts";

const NODE = { id: "ztunnel~1.1.1.1~p.n~n.svc.cluster.local" };
const WEB = {
  name: "web",
  namespace: "shop",
  serviceAccount: "web",
  ip: "10.0.0.1",
};
const WEB_UID = "test//Pod/shop/web";
const POLICY = {
  name: "p",
  namespace: "shop",
  scope: "Namespace",
  action: "Deny",
  dryRun: false,
  rules: [],
};

const MESH = resourcesOf(meshFileText({ workloads: [WEB], policies: [POLICY] }));
const [WEB_RESOURCE] = MESH;

/** A stream of grpc-js, its responses decoded. */
class PlainClient implements AsyncDisposable {
  readonly responses: Fields[] = [];
  status: { readonly code: number; readonly details: string } | null = null;
  readonly #client: grpc.Client;
  readonly #call: grpc.ClientDuplexStream<Fields, Fields>;

  constructor(address: string, options: { readonly root?: string; readonly token?: string } = {}) {
    const credentials = options.root === undefined
      ? grpc.credentials.createInsecure()
      : grpc.credentials.createSsl(Buffer.from(options.root));
    this.#client = new grpc.Client(address.replace(/^https?:\/\//, ""), credentials, {
      // A pool of all clients would remember that the address failed.
      "grpc.use_local_subchannel_pool": 1,
    });
    const metadata = new grpc.Metadata();
    if (options.token !== undefined) metadata.set("authorization", `Bearer ${options.token}`);
    const { path, requestSerialize, responseDeserialize } = XDS_SERVICE["delta"]!;
    this.#call = this.#client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
    );
    this.#call.on("data", (response: Fields) => this.responses.push(response));
    this.#call.on("status", (status) => this.status = status);
    this.#call.on("error", () => {}); // Told by the status.
  }

  send(type: XdsType | string, fields: Fields = {}): void {
    const typeUrl = type in TYPE_URLS ? TYPE_URLS[type as XdsType] : type;
    this.#call.write({ typeUrl, ...fields });
  }

  first(type: XdsType, fields: Fields = {}): void {
    this.send(type, { node: NODE, ...fields });
  }

  /** The response with this number, from 0. */
  async response(number: number): Promise<Fields> {
    await until(() => this.responses.length > number, 5_000);
    return this.responses[number]!;
  }

  async ended(): Promise<number> {
    await until(() => this.status !== null, 5_000);

    return this.status!.code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#call.cancel();
    this.#client.close();
    await until(() => this.status !== null, 5_000);
  }
}

/** What a response says, short. */
function summary({ resources, removed }: Fields): unknown {
  const names = resources.map(({ name }: Fields) => name);
  return { set: names, removed };
}

/** A server with a mesh, ended when the test ends; nothing was asked of it that must not be. */
async function serve(options: XdsServerOptions = {}): Promise<XdsServer> {
  const server = await XdsServer.start(options);
  server.push({ set: MESH });
  return server;
}

Deno.test("XdsServer answers the first request of each type with everything, and of an empty mesh too", async () => {
  await using server = await serve();
  await using client = new PlainClient(server.address);
  client.first("Address");
  const addresses = await client.response(0);
  assertEquals(addresses["typeUrl"], TYPE_URLS.Address);
  assertEquals(summary(addresses), { set: [WEB_UID], removed: [] });
  assertMatch(addresses["resources"][0].version, /^[0-9a-f]{16}$/);
  client.first("Authorization");
  const policies = await client.response(1);
  assertEquals(summary(policies), { set: ["shop/p"], removed: [] });
  assertEquals(policies["resources"][0].version ?? "", "");

  await using bare = await XdsServer.start();
  await using other = new PlainClient(bare.address);
  other.first("Address");
  assertEquals(summary(await other.response(0)), { set: [], removed: [] });
});

Deno.test("XdsServer sends nothing that the client has, and removes what exists no more", async () => {
  await using server = await serve();
  await using client = new PlainClient(server.address);
  client.first("Address", {
    initialVersions: { [WEB_UID]: WEB_RESOURCE!.version, "test//Pod/shop/gone": "1" },
  });
  assertEquals(summary(await client.response(0)), { set: [], removed: ["test//Pod/shop/gone"] });
  // Policies carry no version, so a name known without one is sent again.
  client.first("Authorization", { initialVersions: { "shop/p": "" } });
  assertEquals(summary(await client.response(1)), { set: ["shop/p"], removed: [] });
});

Deno.test("XdsServer pushes changes only, addresses before policies", async () => {
  await using server = await serve();
  await using client = new PlainClient(server.address);
  client.first("Address");
  client.first("Authorization");
  await client.response(1);
  const moved = resourcesOf(meshFileText({ workloads: [{ ...WEB, ip: "10.0.0.2" }] }));
  server.push({ set: moved, removePolicies: ["shop/p"] });
  assertEquals(summary(await client.response(2)), { set: [WEB_UID], removed: [] });
  assertEquals(summary(await client.response(3)), { set: [], removed: ["shop/p"] });
  server.push({ remove: [WEB_UID] });
  assertEquals(summary(await client.response(4)), { set: [], removed: [WEB_UID] });
});

Deno.test("XdsServer gathers what is held into one response", async () => {
  await using server = await serve();
  await using client = new PlainClient(server.address);
  server.hold("Address");
  client.first("Address");
  client.first("Authorization");
  assertEquals(summary(await client.response(0)), { set: ["shop/p"], removed: [] });
  server.push({ remove: [WEB_UID] });
  server.push({ set: [resource("Address", "other", new Uint8Array([1]))] });
  assertEquals(client.responses.length, 1);
  server.release("Address");
  assertEquals(summary(await client.response(1)), { set: ["other"], removed: [] });
});

Deno.test("XdsServer notes replies, and what a client must not do", async () => {
  await using server = await serve();
  await using client = new PlainClient(server.address);
  client.first("Address");
  const { nonce } = await client.response(0);
  client.send("Address", { nonce });
  await until(() => server.said[0]!.reply === "ack", 5_000);
  assertEquals(server.violations, []);
  client.send("Address", { nonce });
  client.send("Address", { nonce: "made up", error: { message: "bad: x" } });
  client.send("Address", { nonce, node: NODE, subscribe: ["*"] });
  client.send("Address", { subscribe: ["/10.0.0.1"] });
  await until(() => server.heard.length === 6, 5_000);
  const said = (what: string) => `stream 1, ${TYPE_URLS.Address}: ${what}`;
  assertEquals(server.violations, [
    said("a second reply"),
    said("a nonce nobody gave"),
    said("the node is in a later request"),
    said("a reply subscribes"),
    said("a second reply"),
    said("demands what nobody serves on demand"),
  ]);
  assertEquals(server.heard.map(({ kind }) => kind), [
    "first",
    "ack",
    "ack",
    "nack",
    "ack",
    "demand",
  ]);
});

Deno.test("XdsServer answers demands by name and alias, and names what does not exist as removed", async () => {
  await using server = await serve();
  await using client = new PlainClient(server.address);
  client.first("Address", { subscribe: ["*"], unsubscribe: ["*"] });
  assertEquals(summary(await client.response(0)), { set: [], removed: [] });
  client.send("Address", { subscribe: ["/10.0.0.1"] });
  const found = await client.response(1);
  assertEquals(summary(found), { set: [WEB_UID], removed: [] });
  assertEquals(found["resources"][0].aliases, ["/10.0.0.1"]);
  client.send("Address", { subscribe: ["/10.9.9.9"] });
  assertEquals(summary(await client.response(2)), { set: [], removed: ["/10.9.9.9"] });
  assertEquals(server.violations, []);
});

Deno.test("XdsServer gives a service's workloads and the node's own on demand", async () => {
  await using server = await XdsServer.start();
  const pod = (uid: string, options: Parameters<typeof resource>[3]) =>
    resource("Address", uid, new Uint8Array([1]), options);
  server.push({
    set: [
      pod("ns/h", {}),
      pod("backing", { services: ["ns/h"] }),
      pod("near", { node: "n1" }),
      pod("far", { node: "n2" }),
    ],
  });
  await using client = new PlainClient(server.address);
  const metadata = { fields: { NODE_NAME: { string: "n1" } } };
  client.first("Address", {
    node: { ...NODE, metadata },
    subscribe: ["*"],
    unsubscribe: ["*"],
  });
  assertEquals(summary(await client.response(0)), { set: ["near"], removed: [] });
  client.send("Address", { subscribe: ["ns/h"] });
  assertEquals(summary(await client.response(1)), { set: ["ns/h", "backing"], removed: [] });
});

Deno.test("XdsServer refuses a wrong token and serves the right one, over TLS", async () => {
  const ca = await MeshCa.create();
  const tls = await ca.issue({ uris: [], dnsNames: ["localhost"], ips: ["127.0.0.1"] });
  await using server = await serve({ tls, token: "secret", ip: "127.0.0.1" });
  assertMatch(server.address, /^https:\/\/127\.0\.0\.1:\d+$/);
  const address = server.address.replace("127.0.0.1", "localhost"); // This client needs a name.
  await using stranger = new PlainClient(address, { root: ca.rootPem, token: "wrong" });
  assertEquals(await stranger.ended(), grpc.status.UNAUTHENTICATED);
  assertEquals([server.refused, server.streams.length], [1, 0]);
  await using client = new PlainClient(address, { root: ca.rootPem, token: "secret" });
  client.first("Address");
  await client.response(0);
  assertEquals(server.streams[0]!.headers["authorization"], "Bearer secret");
});

Deno.test.each(
  [
    { how: "a status", code: grpc.status.UNAVAILABLE },
    { how: "a normal end", code: grpc.status.OK },
  ],
)("XdsServer.endStreams() ends streams with $how", async ({ code }) => {
  await using server = await serve();
  await using client = new PlainClient(server.address);
  client.first("Address");
  await client.response(0);
  server.endStreams({ code, message: "transport is closing" });
  assertEquals(await client.ended(), code);
});

Deno.test("XdsServer drops connections, goes away and comes back under the same address", async () => {
  await using server = await serve();
  const { address } = server;
  await using first = new PlainClient(address);
  first.first("Address");
  await first.response(0);
  server.drop();
  assertEquals(await first.ended(), grpc.status.UNAVAILABLE);
  await until(() => server.openStreams.length === 0);

  await server.stop();
  const [hostname, port] = address.slice("http://".length).split(":");
  await assertRejects(
    () => Deno.connect({ hostname: hostname!, port: Number(port) }),
    Deno.errors.ConnectionRefused,
  );
  await server.restart();
  assertEquals(server.address, address);
  await using second = new PlainClient(address);
  second.first("Address");
  assertEquals(summary(await second.response(0)), { set: [WEB_UID], removed: [] });
});

Deno.test("XdsServer.goAway() ends streams after their grace", async () => {
  await using server = await serve();
  await using client = new PlainClient(server.address);
  client.first("Address");
  await client.response(0);
  server.goAway(50);
  assert(await client.ended() !== grpc.status.OK);
  await until(() => server.openStreams.length === 0);
});

Deno.test("XdsServer.stall() lets nothing through and ends nothing", async () => {
  await using server = await serve();
  await using client = new PlainClient(server.address);
  client.first("Address");
  await client.response(0);
  server.stall();
  server.push({ remove: [WEB_UID] });
  await until(() => server.said.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals([client.responses.length, client.status], [1, null]);
});

// Which CA a configuration leads to, and how that is asked.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CaServer } from "../tests/support/ca_server.ts";
import { loopbackBlock } from "../tests/support/loopback.ts";
import { MeshCa } from "../tests/support/mesh_ca.ts";
import { SystemClock } from "./base/system_clock.ts";
import { openAuthority } from "./certificate_authority.ts";
import type { Config } from "./config/config.ts";
import { FakeAuthority } from "./identity/fake_authority.ts";
import { FakeCaError } from "./identity/fake_ca.ts";
import { parseSpiffeId } from "./tls/spiffe_id.ts";

const ID = parseSpiffeId("spiffe://cluster.local/ns/ns/sa/app");
const FOREVER = new AbortController().signal;

type Settings = Parameters<typeof openAuthority>[0];

/** A proxy in dedicated mode without any CA. */
function settings(given: Partial<Settings>): Settings {
  const none = { ca: null, fakeCa: null, clusterId: "c1", secretTtlMs: 3_600_000 };
  return { ...none, mode: "dedicated", ...given };
}

function open(given: Partial<Settings>) {
  return openAuthority(settings(given), { clock: new SystemClock(), log: () => {} });
}

Deno.test.each<{ readonly mode: Config["mode"]; readonly impersonated: string | null }>([
  { mode: "shared", impersonated: ID.uri },
  { mode: "dedicated", impersonated: null },
])("openAuthority() in $mode mode says for whom it asks: $impersonated", async (row) => {
  await using server = await CaServer.start({ callerUri: ID.uri });
  const { address } = server;
  const authority = await open({
    mode: row.mode,
    ca: {
      address,
      root: { kind: "system" },
      altHostname: null,
      token: { kind: "text", token: "secret" },
      headers: [["x-more", "1"]],
    },
  });
  const certificate = await authority.issue(ID, FOREVER);
  const { impersonated, headers, ttlSeconds } = server.heard[0]!;
  assertEquals([impersonated, ttlSeconds], [row.impersonated, 3600]);
  assertEquals(
    [headers["authorization"], headers["clusterid"], headers["x-more"]],
    ["Bearer secret", "c1", "1"],
  );
  certificate.key.wipe();
});

Deno.test("openAuthority() outlives a root file that breaks, and takes a token with a line end", async () => {
  const folder = await Deno.makeTempDir();
  await using removed = new AsyncDisposableStack();
  removed.defer(() => Deno.remove(folder, { recursive: true }));
  const [rootPath, tokenPath] = [`${folder}/root-cert.pem`, `${folder}/token`];
  const ca = await MeshCa.create();
  const ip = `${loopbackBlock()}.1`;
  const tls = await ca.issue({ uris: [], ips: [ip] });
  await using server = await CaServer.start({ ca, ip, tls, callerUri: ID.uri });
  await Deno.writeTextFile(rootPath, ca.rootPem);
  await Deno.writeTextFile(tokenPath, "secret\n");
  const authority = await open({
    ca: {
      address: server.address,
      root: { kind: "file", path: rootPath },
      altHostname: null,
      token: { kind: "file", path: tokenPath },
      headers: [],
    },
  });
  await authority.issue(ID, FOREVER);
  await Deno.writeTextFile(rootPath, "garbage");
  await authority.issue(ID, FOREVER);
  assertEquals(server.heard.map(({ headers }) => headers["authorization"]), [
    "Bearer secret",
    "Bearer secret",
  ]);
});

Deno.test("openAuthority() signs by itself where FAKE_CA says so", async () => {
  const authority = await open({ fakeCa: { directory: null } });
  assert(authority instanceof FakeAuthority);
  const { identity, notAfterMs } = await authority.issue(ID, FOREVER);
  assertEquals(identity, ID);
  assert(Math.abs(notAfterMs - Date.now() - 3_600_000) < 60_000);
});

Deno.test("openAuthority() says at once that FAKE_CA_DIR cannot be used", async () => {
  await assertRejects(() => open({ fakeCa: { directory: "/dev/null/none" } }), FakeCaError);
});

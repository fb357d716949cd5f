// Two proxy processes with two identities: what an application's connection crosses from end to end.
import { loopbackBlock } from "./loopback.ts";
import { MeshCa } from "./mesh_ca.ts";
import { meshFileText } from "./mesh_file.ts";
import { TEST_NETWORK } from "./networks.ts";
import { ProxyProcess, type ProxyProcessOptions } from "./proxy_process.ts";

export interface ProxyPair extends AsyncDisposable {
  /** Speaks SOCKS5 on its address, as `spiffe://cluster.local/ns/test/sa/client`. */
  readonly outbound: ProxyProcess;
  /** Guards every server that listens on its address, as `spiffe://cluster.local/ns/test/sa/server`. */
  readonly inbound: ProxyProcess;
}

/** Starts both with a CA and a mesh file of their own; ready when it resolves. */
export async function startProxyPair(
  options: Pick<ProxyProcessOptions, "env" | "discardOutput" | "runtimeFlags" | "launcher"> = {},
): Promise<ProxyPair> {
  const block = loopbackBlock();
  await using opened = new AsyncDisposableStack();
  const caFolder = await Deno.makeTempDir({ prefix: "proxy-pair-" });
  opened.defer(() => Deno.remove(caFolder, { recursive: true }));
  const [client, server] = ["client", "server"].map((name, index) => ({
    name,
    namespace: "test",
    serviceAccount: name,
    ip: `${block}.${index + 1}`,
  }));
  const meshFile = `${caFolder}/mesh.yaml`;
  await Deno.writeTextFile(meshFile, meshFileText({ workloads: [client!, server!] }));
  await (await MeshCa.create()).writeRoot(caFolder);
  const env = { IO_PROVIDER: TEST_NETWORK, ...options.env };
  const common = { ...options, env, meshFile, caFolder };
  const inbound = opened.use(await ProxyProcess.start({ ...common, workload: server! }));
  const outbound = opened.use(await ProxyProcess.start({ ...common, workload: client! }));
  const owned = opened.move();
  return { outbound, inbound, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

// A mesh with peers around it, and the proxy of one of its pods.
import { responseOf } from "../support/xds_pushes.ts";
import { Peers } from "./original_peers.ts";
import { APPS, HBONE_PEERS, ROUTES } from "./original_routes.ts";
import { startSubject } from "./original_subject.ts";

/** Speaks for `ns/client`. The caller disposes of it. */
export async function startMesh(
  binary: string | null,
  env: Readonly<Record<string, string>> = {},
) {
  await using opening = new AsyncDisposableStack();
  const peers = opening.use(await Peers.open());
  const subject = opening.use(
    await startSubject({
      binary,
      env: { NETWORK: "network1", NODE_NAME: "n1", ...env },
      workload: "ns/client/client",
      prepare: (server) => server.hold("Authorization"),
      waitReady: false,
    }),
  );
  const { server, ca, folder } = subject;
  await server.until(() => server.said.some(({ reply }) => reply === "ack"), "the first reply");
  server.say(responseOf(ROUTES));
  await server.until(() => server.said.every(({ reply }) => reply !== null), "the mesh");
  const nack = server.heard.find(({ kind }) => kind === "nack");
  if (nack !== undefined) throw new Error(nack.request["error"].message);
  server.release("Authorization");
  await subject.ready();
  const leaf = (serviceAccount: string) =>
    ca.writeLeaf(folder, { namespace: "ns", serviceAccount });
  for (const [address, port] of APPS) await peers.app(address, port);
  for (const [address, serviceAccount, options] of HBONE_PEERS) {
    await peers.hbone(address, await leaf(serviceAccount), options);
  }
  const opened = opening.move();
  return {
    peers,
    subject,
    leaf,
    access: () => subject.lines.filter((line) => line.includes('"scope":"access"')),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** What an application of the pod was sent, in hex up to the client's line. */
export function serveOwn(hostname: string, port: number): Disposable {
  const listener = Deno.listen({ hostname, port });
  const answer = async (connection: Deno.TcpConn) => {
    const local = connection.localAddr as Deno.NetAddr;
    const peer = (connection.remoteAddr as Deno.NetAddr).hostname;
    let text = "";
    const buffer = new Uint8Array(4096);
    while (!text.endsWith("hi\n")) {
      const count = await connection.read(buffer);
      if (count === null) break;
      text += new TextDecoder("latin1").decode(buffer.subarray(0, count));
    }
    const before = Uint8Array.from(text.slice(0, -3), (octet) => octet.charCodeAt(0)).toHex();
    const line = `own ${local.hostname}:${local.port} from ${peer} after ${before}\n`;
    await connection.write(new TextEncoder().encode(line));
    await connection.read(buffer);
    connection.close();
  };
  (async () => {
    for await (const connection of listener) answer(connection).catch(() => {});
  })().catch(() => {});
  return listener;
}

export function useAll(resources: readonly Disposable[]): Disposable {
  const all = new DisposableStack();
  for (const resource of resources) all.use(resource);
  return all;
}

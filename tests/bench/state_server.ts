// A control plane as a process of its own, so that its work is not measured: serves the mesh of state_mesh.ts.
// It says `{"address": …}` when it listens and `{"asked": true}` when a proxy has asked for everything, waits for a
// line on stdin, says `{"firstByteMs": …}` (since the epoch) when it answers, and ends with its stdin.
//   --tls FOLDER   TLS with a leaf of a CA whose root it writes to FOLDER/xds-root.pem
import { parseArgs } from "@std/cli/parse-args";
import { loopbackBlock } from "../support/loopback.ts";
import { MeshCa } from "../support/mesh_ca.ts";
import { XdsServer } from "../support/xds_server.ts";
import { benchResources } from "./state_mesh.ts";

const WITHIN_MS = 60_000;

function say(what: Readonly<Record<string, unknown>>): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(what)}\n`));
}

async function leafFor(folder: string, ip: string) {
  const ca = await MeshCa.create("bench control plane");
  await Deno.writeTextFile(`${folder}/xds-root.pem`, ca.rootPem);
  return { tls: await ca.issue({ uris: [], ips: [ip] }) };
}

const { tls: folder } = parseArgs(Deno.args, { string: ["tls"] });
const ip = `${loopbackBlock()}.250`;
await using server = await XdsServer.start({
  ip,
  ...folder === undefined ? {} : await leafFor(folder, ip),
});
server.hold("Address");
server.hold("Authorization");
server.push({ set: benchResources() });
say({ address: server.address });

const isAsked = () =>
  server.openStreams.length > 0 &&
  server.openStreams.every(({ subscriptions }) => subscriptions.size === 2);
await server.until(isAsked, "a proxy asks for everything", WITHIN_MS);
say({ asked: true });
let isAnswered = false;
for await (const _line of Deno.stdin.readable) {
  if (isAnswered) continue;
  isAnswered = true;
  server.release("Address"); // Encodes the response; its first octet goes out when this returns.
  say({ firstByteMs: performance.timeOrigin + performance.now() });
  server.release("Authorization");
}

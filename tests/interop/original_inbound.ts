// What a proxy answers to calls of its 15008, and what its application is sent.
import { MeshCa, type TestLeafFiles } from "../support/mesh_ca.ts";
import { responseOf } from "../support/xds_pushes.ts";
import { PHASES } from "./original_calls.ts";
import { serveOwn, startMesh, useAll } from "./original_mesh.ts";
import { POD_IP6, quiet } from "./original_peers.ts";

export async function watchInbound(binary: string | null): Promise<unknown> {
  await using mesh = await startMesh(binary, {
    AUTHZ_POLICY_INFO_LOGGING: "true",
    RUST_LOG: "info,access=debug",
  });
  const { peers, subject } = mesh;
  const { server, ca, folder } = subject;
  const ports = [8080, 15088, 15089];
  using _apps = useAll([
    ...ports.map((port) => serveOwn("0.0.0.0", port)),
    ...ports.map((port) => serveOwn("::1", port)),
    ...ports.map((port) => serveOwn(POD_IP6, port)),
  ]);
  const issue = async (name: string): Promise<TestLeafFiles> => {
    const named = { namespace: "ns", serviceAccount: name };
    if (name === "stranger") {
      const files = await (await MeshCa.create()).writeLeaf(folder, named);
      await Deno.writeTextFile(files.root, ca.rootPem);
      return files;
    }
    if (name !== "elsewhere") return ca.writeLeaf(folder, named);
    const leaf = await ca.issue({ uris: ["spiffe://other.td/ns/ns/sa/two"] });
    const files = {
      cert: `${folder}/e-cert.pem`,
      key: `${folder}/e-key.pem`,
      root: `${folder}/e-root.pem`,
    };
    await Deno.writeTextFile(files.cert, leaf.certPem);
    await Deno.writeTextFile(files.key, leaf.keyPem);
    await Deno.writeTextFile(files.root, leaf.rootPem);
    return files;
  };
  const leaves = new Map<string, TestLeafFiles>();
  const leafOf = async (name: string): Promise<TestLeafFiles> => {
    const leaf = leaves.get(name) ?? await issue(name);
    leaves.set(name, leaf);
    return leaf;
  };
  const phases = [];
  for (const { what, pushes, calls } of PHASES) {
    for (const push of pushes) {
      const before = server.heard.length;
      server.say(responseOf(push));
      await server.until(() => server.heard.length > before, "a reply");
      const { kind, request } = server.heard[before]!;
      if (kind !== "ack") throw new Error(request["error"].message);
    }
    const seen = [];
    for (const { as = "two", ...call } of calls) {
      const from = subject.lines.length;
      const lines = () =>
        subject.lines.slice(from).filter((line) => !line.includes('"scope":"ztunnel::xds'));
      const answer = await peers.call({
        leaf: as === null ? null : await leafOf(as),
        from: call.ip === POD_IP6 ? "fd05::2" : "10.5.0.2",
        ...call,
      });
      await quiet(() => lines().length, 1);
      seen.push({ call: { ...call, as }, answer, lines: lines().map((line) => JSON.parse(line)) });
    }
    phases.push({ what, calls: seen });
  }
  return { phases };
}

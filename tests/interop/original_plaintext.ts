// Captured plaintext, and what a change of policy does to connections that live.
import type { Fields } from "../support/protobuf.ts";
import { type Push, responseOf } from "../support/xds_pushes.ts";
import { serveOwn, startMesh, useAll } from "./original_mesh.ts";
import { POD_IP, POD_IP6, quiet } from "./original_peers.ts";
import { client } from "./original_routes.ts";
import { pause } from "./original_told.ts";

export async function watchPlaintext(binary: string | null): Promise<unknown> {
  await using mesh = await startMesh(binary, {
    AUTHZ_POLICY_INFO_LOGGING: "true",
    RUST_LOG: "info,access=debug",
  });
  const { peers, subject, leaf } = mesh;
  const { server } = subject;
  await peers.capture();
  const ports = [8080, 15088];
  using _apps = useAll([
    ...ports.map((port) => serveOwn("0.0.0.0", port)),
    ...ports.map((port) => serveOwn(POD_IP6, port)),
  ]);
  const seen: unknown[] = [];
  const step = async (what: string, act: () => Promise<unknown>) => {
    const from = subject.lines.length;
    const lines = () =>
      subject.lines.slice(from).filter((line) => !line.includes('"scope":"ztunnel::xds'));
    const answer = await act();
    await quiet(() => lines().length, 1);
    await pause(50);
    seen.push({ call: what, answer, lines: lines().map((line) => JSON.parse(line)) });
  };
  const push = async (push: Push) => {
    const before = server.heard.length;
    server.say(responseOf(push));
    await server.until(() => server.heard.length > before, "a reply");
  };
  const plain = (port: number, from = "10.5.0.2", ip = POD_IP) => () =>
    peers.plain({ ip, port, from });
  const policy = (set: Push["set"], removed: readonly string[] = []): Push => ({
    what: "",
    type: "Authorization",
    removed,
    ...set === undefined ? {} : { set },
  });
  const deny = (name: string, match: Fields) =>
    [`ns/${name}`, {
      name,
      namespace: "ns",
      scope: "NAMESPACE",
      action: "DENY",
      rules: [{ clauses: [{ matches: [match] }] }],
    }] as const;
  for (const port of [8080, 9999, 15001, 15006, 15080, 15000, 15020, 15021]) {
    await step(`plain ${port}`, plain(port));
  }
  await step("plain, unknown peer", plain(8080, "10.5.0.201"));
  await step("plain, IPv6", plain(8080, "fd05::2", POD_IP6));
  await push({
    what: "",
    type: "Address",
    set: [client({ applicationTunnel: { protocol: "PROXY", port: 15088 } })],
  });
  await step("plain, app tunnel", plain(8080));
  await push({ what: "", type: "Address", set: [client()] });
  await push(policy([deny("strict", { notPrincipals: [{ presence: {} }] })]));
  await step("plain, strict", plain(8080));
  await step(
    "HBONE, strict",
    async () =>
      await peers.call({ leaf: await leaf("two"), authority: `${POD_IP}:8080`, from: "10.5.0.2" }),
  );
  await push(
    policy(
      [deny("source", { sourceIps: [{ address: Uint8Array.of(10, 5, 0, 201), length: 32 }] })],
      ["ns/strict"],
    ),
  );
  await step("plain, denied by source", plain(8080, "10.5.0.201"));
  await step("plain, another source", plain(8080));
  await push(policy([], ["ns/source"]));
  const two = await leaf("two");
  const cut = (what: string, act: () => Promise<unknown>) =>
    step(what, async () => {
      const startedMs = performance.now();
      const held = act();
      await pause(400);
      await push(policy([deny("all", { destinationPorts: [8080] })]));
      const answer = await held as Record<string, unknown>;
      const passedMs = performance.now() - startedMs;
      await push(policy([], ["ns/all"]));
      return { ...answer, inTime: passedMs < 5_000 };
    });
  await cut(
    "HBONE that lives",
    () => peers.call({ leaf: two, authority: `${POD_IP}:8080`, from: "10.5.0.2", hold: true }),
  );
  await cut(
    "plain that lives",
    () => peers.plain({ ip: POD_IP, port: 8080, from: "10.5.0.2", hold: true }),
  );
  return { phases: [{ what: "plaintext", calls: seen }] };
}

// Where each dial goes, what the peers see of it, and what is logged.
import { startMesh } from "./original_mesh.ts";
import { dial, quiet } from "./original_peers.ts";
import { DIALS } from "./original_routes.ts";
import { metrics } from "./original_told.ts";

export async function watchOutbound(binary: string | null): Promise<unknown> {
  await using mesh = await startMesh(binary);
  const { peers, access } = mesh;
  using app = Deno.listen({ hostname: "0.0.0.0", port: 8080 });
  (async () => {
    for await (const connection of app) {
      const { hostname, port } = connection.localAddr as Deno.NetAddr;
      await connection.write(new TextEncoder().encode(`own ${hostname}:${port}\n`));
      await connection.read(new Uint8Array(10));
      connection.close();
    }
  })().catch(() => {});
  const dials = [];
  for (const [target, port, what] of DIALS) {
    const [lines, met] = [access().length, peers.met.length];
    const went = await dial(target, port);
    const ends = () => access().slice(lines).filter((line) => !line.includes("opened")).length;
    await quiet(ends, 1);
    await quiet(() => access().length + peers.met.length, 0);
    dials.push({
      what,
      target: `${target} ${port}`,
      went,
      met: peers.met.slice(met),
      access: access().slice(lines).map((line) => JSON.parse(line)),
    });
  }
  const resolved = (await metrics()).filter((line) => line.startsWith("istio_on_demand_dns_total"));
  return { dials, resolved };
}

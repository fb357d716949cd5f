// Two data planes of one program on real loopback sockets, so that a test can look into them.
import { ProxyError } from "../../src/base/errors.ts";
import { SystemRandom } from "../../src/base/random.ts";
import { type DataPlane, startDataPlane } from "../../src/dataplane.ts";
import type { DataPlaneLimits } from "../../src/hbone/limits.ts";
import { CertificateManager } from "../../src/identity/certificate_manager.ts";
import { FakeAuthority } from "../../src/identity/fake_authority.ts";
import { FakeCa } from "../../src/identity/fake_ca.ts";
import type { Network } from "../../src/net/network.ts";
import type { Events } from "../../src/seam/events.ts";
import { parseMeshFile } from "../../src/state/mesh_file.ts";
import { MeshState } from "../../src/state/mesh_state.ts";
import { StateRouter } from "../../src/state/state_router.ts";
import { spiffeId } from "../../src/tls/spiffe_id.ts";
import { loopbackBlock } from "./loopback.ts";
import { meshFileText, type TestWorkload } from "./mesh_file.ts";
import { openNetwork, TEST_NETWORK } from "./networks.ts";
import { SOCKS5_PORT } from "./socks5.ts";

const HBONE_PORT = 15008;

export interface LocalPlanes extends AsyncDisposable {
  readonly network: Network;
  /** Timers of the network's clock: set and not run yet. */
  timersWaiting(): number;
  /** SOCKS5 on `outboundIp`. */
  readonly outbound: DataPlane;
  readonly outboundIp: string;
  /** HBONE on `inboundIp`, for servers there. */
  readonly inbound: DataPlane;
  readonly inboundIp: string;
}

const SILENT: Events = { opened() {}, closed() {}, failedEarly() {}, log() {} };

/** Starts both, in one mesh with one CA. Disposing stops them. */
export async function startLocalPlanes(
  options: { readonly limits?: Partial<DataPlaneLimits> } = {},
): Promise<LocalPlanes> {
  const block = loopbackBlock();
  const [client, server] = ["client", "server"].map((name, index) => ({
    name,
    namespace: "test",
    serviceAccount: name,
    ip: `${block}.${index + 1}`,
  })) as [TestWorkload, TestWorkload];
  await using opened = new AsyncDisposableStack();
  const { network, clock, timersWaiting, ...sockets } = openNetwork(TEST_NETWORK, reportError);
  opened.defer(() => sockets[Symbol.asyncDispose]());
  const mesh = parseMeshFile(meshFileText({ workloads: [client, server] }), { source: "test" });
  const ca = await FakeCa.create({ nowMs: Date.now() });
  const certificates = new CertificateManager({
    authority: new FakeAuthority(ca, { clock }),
    clock,
    random: new SystemRandom(),
    log() {},
  });
  opened.defer(() => certificates.close());
  const start = async (
    workload: TestWorkload,
    listeners: Parameters<typeof startDataPlane>[0]["listeners"],
  ) => {
    const identity = spiffeId({ trustDomain: "cluster.local", ...workload });
    const router = new StateRouter({
      state: new MeshState(mesh),
      settings: {
        network: "",
        hbonePort: HBONE_PORT,
        internalPorts: new Set([HBONE_PORT, SOCKS5_PORT]),
        clusterDomain: "cluster.local",
        nodeName: "",
      },
      clock,
      log() {},
    });
    const plane = await new Promise<DataPlane>((resolve, reject) =>
      startDataPlane({
        network,
        router,
        certificates: certificates.source(identity),
        events: SILENT,
        clock,
        random: new SystemRandom(),
        local: workload,
        listeners,
        limits: options.limits ?? {},
      }, (outcome) => outcome instanceof ProxyError ? reject(outcome) : resolve(outcome))
    );
    opened.defer(() => new Promise<void>((resolve) => plane.stop(resolve)));
    return plane;
  };
  const inbound = await start(server, { inbound: { ip: server.ip, port: HBONE_PORT } });
  const outbound = await start(client, { socks5: { ip: client.ip, port: SOCKS5_PORT } });
  const owned = opened.move();
  return {
    network,
    timersWaiting,
    outbound,
    outboundIp: client.ip,
    inbound,
    inboundIp: server.ip,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

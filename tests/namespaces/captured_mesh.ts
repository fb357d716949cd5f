// Two captured pods with a proxy process each, and one without: what the tests of capture talk through.
import { MeshCa } from "../support/mesh_ca.ts";
import { meshFileText, type TestWorkload } from "../support/mesh_file.ts";
import { type AccessLine, ProxyProcess } from "../support/proxy_process.ts";
import { PYTHON } from "./environment.ts";
import { type Pod, WITH_PARENT } from "./pod.ts";
import { NetworkRig } from "./rig.ts";
import {
  BY_MARK,
  countTraffic,
  type Exemption,
  PORTS,
  redirectToProxy,
  tproxyToProxy,
} from "./rules.ts";

/** One way to run a captured proxy. */
export interface Capture {
  readonly name: string;
  readonly network: "native" | "deno";
  readonly rules: "REDIRECT" | "TPROXY";
  /** Whether 15001 and 15006 are opened before the proxy starts, and handed over. */
  readonly inherited: boolean;
  /** Whether the proxy may mark, be transparent and spoof; else it runs without any capability. */
  readonly privileged: boolean;
  /** Whether applications see the address of who called them. */
  readonly spoofs: boolean;
  readonly env: Readonly<Record<string, string>>;
}

const MARKED = { IO_PROVIDER: "native", PACKET_MARK: "1337" };

export const REDIRECT_NATIVE: Capture = {
  name: "REDIRECT, native",
  network: "native",
  rules: "REDIRECT",
  inherited: false,
  privileged: true,
  spoofs: true,
  env: MARKED,
};

/** The same without capabilities, on listeners that somebody else made transparent. */
export const INHERITED_UNPRIVILEGED: Capture = {
  name: "TPROXY on inherited listeners, native, no capability",
  network: "native",
  rules: "TPROXY",
  inherited: true,
  privileged: false,
  spoofs: false,
  env: { IO_PROVIDER: "native" },
};

export const CAPTURES: readonly Capture[] = [
  REDIRECT_NATIVE,
  {
    name: "REDIRECT, native, no capability",
    network: "native",
    rules: "REDIRECT",
    inherited: false,
    privileged: false,
    spoofs: false,
    env: { IO_PROVIDER: "native" },
  },
  {
    name: "TPROXY, native",
    network: "native",
    rules: "TPROXY",
    inherited: false,
    privileged: true,
    spoofs: true,
    env: { ...MARKED, ENABLE_ORIG_SRC: "true" },
  },
  {
    name: "TPROXY on inherited listeners, native",
    network: "native",
    rules: "TPROXY",
    inherited: true,
    privileged: true,
    spoofs: true,
    env: MARKED,
  },
  {
    name: "TPROXY on inherited listeners, deno, no capability and no ffi",
    network: "deno",
    rules: "TPROXY",
    inherited: true,
    privileged: false,
    spoofs: false,
    env: { IO_PROVIDER: "deno" },
  },
];

/** In the payloads of tests; a rule in every pod counts packets that show it. */
export const READABLE = "anybody-can-read-this";
/** Closed to callers without identity. */
export const STRICT_PORT = 9443;
/** Closed to the client's identity. */
export const FORBIDDEN_PORT = 9444;
/** The group that exempts a proxy without marks from the rules. */
const PROXY_GROUP = 1337;

export function identityOf(name: string): string {
  return `spiffe://cluster.local/ns/test/sa/${name}`;
}

export interface CapturedMesh extends AsyncDisposable {
  /** Captured, HBONE. */
  readonly client: Pod;
  /** Captured, HBONE. */
  readonly server: Pod;
  /** A workload without proxy and without rules. */
  readonly plain: Pod;
  readonly clientProxy: ProxyProcess;
  readonly serverProxy: ProxyProcess;
}

/** Both proxies are ready, both pods' traffic goes to them, everything is counted. */
export async function startCapturedMesh(
  capture: Capture,
  options: {
    readonly env?: Readonly<Record<string, string | undefined>>;
    readonly runtimeFlags?: readonly string[];
  } = {},
): Promise<CapturedMesh> {
  await using opened = new AsyncDisposableStack();
  const rig = opened.use(await NetworkRig.create(["client", "server", "plain"]));
  const [client, server, plain] = ["client", "server", "plain"].map((name) => rig.pod(name));
  const folder = await Deno.makeTempDir({ prefix: "namespaces-" });
  opened.defer(() => Deno.remove(folder, { recursive: true }));
  const meshFile = await writeMesh(folder, [client!, server!, plain!]);
  const start = async (pod: Pod): Promise<ProxyProcess> => {
    await captureTraffic(pod, capture);
    await countTraffic(pod, READABLE);
    return opened.use(
      await startPodProxy(pod, {
        meshFile,
        caFolder: folder,
        env: { ...capture.env, ...options.env },
        launcher: launcherOf(pod, capture),
        runtimeFlags: options.runtimeFlags ??
          (capture.network === "deno" ? ["--deny-ffi"] : []),
      }),
    );
  };
  await countTraffic(plain!, READABLE);
  const [clientProxy, serverProxy] = await Promise.all([start(client!), start(server!)]);
  const owned = opened.move();
  return {
    ...{ client: client!, server: server!, plain: plain!, clientProxy, serverProxy },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A mesh file and a root that proxies of the pods share. */
export async function writeMesh(folder: string, pods: readonly Pod[]): Promise<string> {
  await (await MeshCa.create()).writeRoot(folder);
  const meshFile = `${folder}/mesh.yaml`;
  const deny = (name: string, match: Record<string, unknown>) => ({
    ...{ name, namespace: "test", scope: "WorkloadSelector", action: "Deny", dryRun: false },
    rules: [[[match]]],
  });
  await Deno.writeTextFile(
    meshFile,
    meshFileText({
      workloads: pods.map((pod) => ({
        ...workloadOf(pod),
        protocol: pod.name === "plain" ? "TCP" : "HBONE",
        authorizationPolicies: pod.name === "server" ? ["test/strict", "test/forbidden"] : [],
      })),
      policies: [
        deny("strict", { notPrincipals: [{ Presence: [] }], destinationPorts: [STRICT_PORT] }),
        deny("forbidden", {
          principals: [{ Exact: identityOf("client").replace("spiffe://", "") }],
          destinationPorts: [FORBIDDEN_PORT],
        }),
      ],
    }),
  );
  return meshFile;
}

function workloadOf(pod: Pod): TestWorkload {
  return {
    name: pod.name,
    namespace: "test",
    serviceAccount: pod.name,
    ip: pod.ipv4,
    otherIp: pod.ipv6,
  };
}

export interface PodProxyOptions {
  readonly meshFile: string;
  readonly caFolder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly launcher: readonly string[];
  readonly runtimeFlags?: readonly string[];
}

/** Everything that a proxy in a pod is told, but for what a test is about. */
export const POD_ENV: Readonly<Record<string, string | undefined>> = {
  BIND_ADDRESS: undefined,
  IPV6_ENABLED: undefined,
  ISTIO_META_DNS_CAPTURE: "false",
};

export function startPodProxy(pod: Pod, options: PodProxyOptions): Promise<ProxyProcess> {
  return ProxyProcess.start({
    ...options,
    workload: workloadOf(pod),
    env: { ...POD_ENV, ...options.env },
    isReady: async () =>
      (await pod.get({ ip: "127.0.0.1", port: 15021 }, "/healthz/ready")).status === 200,
  });
}

export async function captureTraffic(pod: Pod, capture: Capture): Promise<void> {
  const exemption: Exemption = capture.privileged ? BY_MARK : { kind: "group", gid: PROXY_GROUP };
  const install = capture.rules === "REDIRECT" ? redirectToProxy : tproxyToProxy;
  await install(pod, exemption);
}

/** Into the namespace; ended with the tests, however they end; with the listeners and rights of the capture. */
export function launcherOf(pod: Pod, capture: Capture): string[] {
  const handOver = new URL("hand_over.py", import.meta.url).pathname;
  const listeners = [PORTS.outbound, PORTS.inboundPlaintext].map((port) => `[::]:${port}`);
  return [
    ...pod.enter,
    ...capture.inherited ? [PYTHON, handOver, "--transparent", ...listeners, "--"] : [],
    ...!capture.privileged
      ? [...WITHOUT_CAPABILITY, `--regid=${PROXY_GROUP}`, "--clear-groups", "--"]
      : [],
    ...WITH_PARENT,
  ];
}

/** Put before `--` and a command line: it has no capability and gets none. */
export const WITHOUT_CAPABILITY: readonly string[] = [
  "setpriv",
  "--inh-caps=-all",
  "--ambient-caps=-all",
  "--bounding-set=-all",
];

/** A completed connection of the access log. */
export function completed(
  direction: "outbound" | "inbound",
  fields: Readonly<Record<string, string | number>>,
): (line: AccessLine) => boolean {
  const wanted = { message: "connection complete", direction, ...fields };
  return (line) => Object.entries(wanted).every(([name, value]) => line[name] === value);
}

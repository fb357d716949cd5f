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
  /** What is opened before the proxy starts, and handed over: nothing, or 15001 and 15006, or 15008 too. */
  readonly inherited: "nothing" | "transparent" | "all, not transparent";
  /** Whether the proxy may mark, be transparent and spoof; else it runs without any capability. */
  readonly privileged: boolean;
  /** Whether applications see the address of who called them. */
  readonly spoofs: boolean;
  /** Which of 15008, 15006 and 15001 are transparent, as far as the proxy can know. */
  readonly transparent: readonly [boolean, boolean, boolean];
  readonly env: Readonly<Record<string, string>>;
}

const MARKED = { IO_PROVIDER: "native", PACKET_MARK: "1337" };

export const REDIRECT_NATIVE: Capture = {
  name: "REDIRECT, native",
  network: "native",
  rules: "REDIRECT",
  inherited: "nothing",
  privileged: true,
  spoofs: true,
  transparent: [true, true, true],
  env: MARKED,
};

/** The same without capabilities. */
export const REDIRECT_UNPRIVILEGED: Capture = {
  name: "REDIRECT, native, no capability",
  network: "native",
  rules: "REDIRECT",
  inherited: "nothing",
  privileged: false,
  spoofs: false,
  transparent: [false, false, false],
  env: { IO_PROVIDER: "native" },
};

/** Without capabilities, on listeners that somebody else made transparent. */
export const INHERITED_UNPRIVILEGED: Capture = {
  name: "TPROXY on inherited listeners, native, no capability",
  network: "native",
  rules: "TPROXY",
  inherited: "transparent",
  privileged: false,
  spoofs: false,
  transparent: [false, true, true],
  env: { IO_PROVIDER: "native" },
};

/** Without FFI. */
export const INHERITED_DENO: Capture = {
  name: "TPROXY on inherited listeners, deno, no capability and no ffi",
  network: "deno",
  rules: "TPROXY",
  inherited: "transparent",
  privileged: false,
  spoofs: false,
  // The runtime cannot ask a socket.
  transparent: [false, false, false],
  env: { IO_PROVIDER: "deno" },
};

export const CAPTURES: readonly Capture[] = [
  REDIRECT_NATIVE,
  REDIRECT_UNPRIVILEGED,
  {
    name: "REDIRECT on inherited listeners, native, no capability",
    network: "native",
    rules: "REDIRECT",
    inherited: "all, not transparent",
    privileged: false,
    spoofs: false,
    transparent: [false, false, false],
    env: { IO_PROVIDER: "native" },
  },
  {
    name: "TPROXY, native",
    network: "native",
    rules: "TPROXY",
    inherited: "nothing",
    privileged: true,
    spoofs: true,
    transparent: [true, true, true],
    env: { ...MARKED, ENABLE_ORIG_SRC: "true" },
  },
  {
    name: "TPROXY on inherited listeners, native",
    network: "native",
    rules: "TPROXY",
    inherited: "transparent",
    privileged: true,
    spoofs: true,
    transparent: [true, true, true],
    env: MARKED,
  },
  INHERITED_DENO,
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
    /** Permission flags, for a proxy whose CA is in `folder`; all but ffi where it is not needed unless given. */
    readonly permissions?: (folder: string) => readonly string[];
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
        permissions: options.permissions?.(folder) ??
          (capture.network === "deno" ? ["-A", "--deny-ffi"] : ["-A"]),
      }),
    );
  };
  await countTraffic(plain!, READABLE);
  // Both are waited for, also when one cannot start: it still asks its pod.
  const started = await Promise.allSettled([start(client!), start(server!)]);
  const [clientProxy, serverProxy] = started.map((outcome) => {
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  });
  const owned = opened.move();
  return {
    ...{
      client: client!,
      server: server!,
      plain: plain!,
      clientProxy: clientProxy!,
      serverProxy: serverProxy!,
    },
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
  readonly permissions: readonly string[];
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
  const ports = {
    "nothing": [],
    "transparent": [PORTS.outbound, PORTS.inboundPlaintext],
    "all, not transparent": [PORTS.outbound, PORTS.inboundPlaintext, PORTS.inbound],
  }[capture.inherited];
  const listeners = ports.map((port) => `[::]:${port}`);
  if (capture.inherited === "transparent") listeners.unshift("--transparent");
  return [
    ...pod.enter,
    ...listeners.length === 0 ? [] : [PYTHON, handOver, ...listeners, "--"],
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

/** Of the listeners 15008, 15006 and 15001, as the log says it. */
export function transparency({ lines }: ProxyProcess): boolean[] {
  return lines.filter((line) => line.includes("listener established"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => typeof line["transparent"] === "boolean" && line["component"] !== "socks5")
    .map((line) => line["transparent"] as boolean);
}

/** A completed connection of the access log. */
export function completed(
  direction: "outbound" | "inbound",
  fields: Readonly<Record<string, string | number>>,
): (line: AccessLine) => boolean {
  const wanted = { message: "connection complete", direction, ...fields };
  return (line) => Object.entries(wanted).every(([name, value]) => line[name] === value);
}

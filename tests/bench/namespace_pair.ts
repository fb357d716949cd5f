// Two network namespaces joined by a veth pair: a client's node and a server's, on one machine. Needs root.
import { run, ToolError } from "./processes.ts";

const CLIENT_IP = "10.99.0.1";
const SERVER_IP = "10.99.0.2";
const PACKAGE = "Debian's iproute2 and iptables";
const CAPTURE_PORT = 15001;
/** `bench-PID-N-client`, `-server` or `-alone`: the process that made it, so that what a killed one left is known. */
const NAME = /^bench-(\d+)-\d+-(?:client|server|alone)$/;

/** SO_MARK of the proxies' own packets, which the redirect leaves alone. */
export const PACKET_MARK = 1337;

/**
 * Thousands of connections a second between the same two addresses would use up all ports within seconds, and what
 * would be measured then is the kernel's search for one.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  "net/ipv4/tcp_max_tw_buckets": "512",
  "net/ipv4/tcp_tw_reuse": "1",
  "net/ipv4/ip_local_port_range": "16384 65535",
};

let pairsMade = 0;

/** @throws {ToolError} without root. */
export function requireRoot(): void {
  if (Deno.uid() === 0) return;
  throw new ToolError("--peer needs root: it makes network namespaces and redirects in them");
}

export class NamespacePair implements AsyncDisposable {
  readonly clientIp = CLIENT_IP;
  readonly serverIp = SERVER_IP;
  /** To be put before a program that is to run on the client's node … */
  readonly client: readonly string[];
  /** … and on the server's. */
  readonly server: readonly string[];
  readonly #names: readonly [string, string];

  private constructor(names: readonly [string, string]) {
    this.#names = names;
    const [client, server] = names.map((name) => ["ip", "netns", "exec", name]);
    this.client = client!;
    this.server = server!;
  }

  /** @throws {ToolError} without the tools, or where the kernel refuses. */
  static async create(): Promise<NamespacePair> {
    const prefix = `bench-${Deno.pid}-${pairsMade++}`;
    const pair = new NamespacePair([`${prefix}-client`, `${prefix}-server`]);
    try {
      await pair.#build();
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
    return pair;
  }

  /** Connections of the client's node to the server go to the proxy's capture port; the proxy's own do not. */
  async redirect(): Promise<void> {
    const rule = ["OUTPUT", "-p", "tcp", "-d", SERVER_IP, "-m", "mark", "!", "--mark"];
    await run(
      [
        ...this.client,
        ...["iptables", "-t", "nat", "-A", ...rule, `${PACKET_MARK}`],
        ...["-j", "REDIRECT", "--to-ports", `${CAPTURE_PORT}`],
      ],
      PACKAGE,
    );
  }

  async #build(): Promise<void> {
    const [client, server] = this.#names;
    for (const name of this.#names) await ip("netns", "add", name);
    const peer = ["peer", "name", "veth0", "netns", server];
    await ip("link", "add", "veth0", "netns", client, "type", "veth", ...peer);
    for (const [name, address] of [[client, CLIENT_IP], [server, SERVER_IP]] as const) {
      await ip("-n", name, "addr", "add", `${address}/24`, "dev", "veth0");
      for (const device of ["lo", "veth0"]) await ip("-n", name, "link", "set", device, "up");
      for (const [key, value] of Object.entries(SETTINGS)) {
        const write = `echo ${value} > /proc/sys/${key}`;
        await run(["ip", "netns", "exec", name, "sh", "-c", write], PACKAGE);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const existing = await namespaces();
    for (const name of this.#names) {
      if (existing.includes(name)) await ip("netns", "del", name);
    }
  }
}

/** A namespace with loopback alone: for programs whose ports are fixed. */
export class LoneNamespace implements AsyncDisposable {
  /** To be put before a program that is to run in there. */
  readonly within: readonly string[];
  readonly #name: string;

  private constructor(name: string) {
    this.#name = name;
    this.within = ["ip", "netns", "exec", name];
  }

  /** @throws {ToolError} without the tools, or where the kernel refuses. */
  static async create(): Promise<LoneNamespace> {
    const made = new LoneNamespace(`bench-${Deno.pid}-${pairsMade++}-alone`);
    await ip("netns", "add", made.#name);
    try {
      await ip("-n", made.#name, "link", "set", "lo", "up");
    } catch (error) {
      await made[Symbol.asyncDispose]();
      throw error;
    }
    return made;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if ((await namespaces()).includes(this.#name)) await ip("netns", "del", this.#name);
  }
}

/** Whether the bench of this process id is no more. */
export function isStale(pid: number): boolean {
  try {
    Deno.statSync(`/proc/${pid}`);
    return false;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return true;
  }
}

/** Removes namespaces of benches, by the process that made them, and ends what runs in there. */
export async function removeNamespaces(madeBy: (pid: number) => boolean): Promise<void> {
  for (const name of await namespaces()) {
    const pid = NAME.exec(name)?.[1];
    if (pid === undefined || !madeBy(Number(pid))) continue;
    for (const inside of (await ip("netns", "pids", name)).split("\n").filter(Boolean)) {
      try {
        Deno.kill(Number(inside), "SIGKILL");
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error; // It has ended already.
      }
    }
    await ip("netns", "del", name);
  }
}

async function namespaces(): Promise<string[]> {
  return (await ip("netns", "list")).split("\n").map((line) => line.split(" ")[0]!);
}

function ip(...args: string[]): Promise<string> {
  return run(["ip", ...args], PACKAGE);
}

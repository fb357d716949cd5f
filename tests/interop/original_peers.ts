// The network around one proxy: its pod's link in this namespace, and peers on Node at the other end of it.
import { readExactly } from "../support/socks5.ts";
import { until } from "../support/real_sockets.ts";
import type { TestLeafFiles } from "../support/mesh_ca.ts";

const PROGRAM = new URL("node/peers.mjs", import.meta.url).pathname;

export const POD_IP = "10.6.0.1";
export const POD_IP6 = "fd06::1";

/** Something a peer met. */
export type Met = Readonly<Record<string, unknown>> & { readonly met: string };

/** Addresses 10.5.0.0/16 and fd05::/64 are all over there. */
export class Peers implements AsyncDisposable {
  readonly met: Met[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #waiting = new Map<number, (answer: Record<string, unknown>) => void>();
  readonly #reading: Promise<void>;
  #asked = 0;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#writer = child.stdin.getWriter();
    this.#reading = this.#read();
  }

  static async open(): Promise<Peers> {
    const child = new Deno.Command("unshare", {
      args: ["--net", "--", "node", PROGRAM],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const peers = new Peers(child);
    await new Promise<void>((resolve) => peers.#waiting.set(0, () => resolve()));
    await ip([
      `link add pod0 type veth peer name peer0 netns ${child.pid}`,
      `address add ${POD_IP}/24 dev pod0`,
      `address add ${POD_IP6}/64 dev pod0 nodad`,
      "link set pod0 up",
    ]);
    const inside = ["nsenter", `--net=/proc/${child.pid}/ns/net`, "--"];
    await run([...inside, "sysctl", "-q", "-w", "net.ipv6.ip_nonlocal_bind=1"]);
    await ip([
      "link set lo up",
      "address add 10.6.0.2/24 dev peer0",
      "address add fd06::2/64 dev peer0 nodad",
      "link set peer0 up",
      "route add local 10.5.0.0/16 dev lo",
      "route add local fd05::/64 dev lo",
    ], inside);
    await ip(["route add 10.5.0.0/16 via 10.6.0.2", "route add fd05::/64 via fd06::2"]);
    return peers;
  }

  app(address: string, port: number): Promise<unknown> {
    return this.#ask({ command: "app", ip: address, port });
  }

  hbone(
    address: string,
    leaf: TestLeafFiles,
    options: Readonly<Record<string, unknown>> = {},
  ): Promise<unknown> {
    return this.#ask({ command: "hbone", ip: address, port: 15008, leaf, ...options });
  }

  /** A request to the pod's 15008. */
  call(options: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
    return this.#ask({ command: "call", ip: POD_IP, ...options });
  }

  /** Plain TCP from over there. */
  plain(options: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
    return this.#ask({ command: "plain", ...options });
  }

  /** What comes to the pod goes to 15006, as in a captured one. */
  async capture(): Promise<void> {
    for (const tables of ["iptables", "ip6tables"]) {
      const rule =
        "-t nat -A PREROUTING -i pod0 -p tcp ! --dport 15008 -j REDIRECT --to-ports 15006";
      await run([tables, ...rule.split(" ")]);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close();
    await this.#child.status;
    await this.#reading;
  }

  #ask(command: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
    const id = ++this.#asked;
    const line = new TextEncoder().encode(`${JSON.stringify({ id, ...command })}\n`);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, resolve);
      this.#writer.write(line).catch(reject);
    });
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const said = JSON.parse(line);
        if ("met" in said) this.met.push(said);
        else {
          this.#waiting.get(said.id)!(said.answer);
          this.#waiting.delete(said.id);
        }
      }
    }
  }
}

async function ip(lines: readonly string[], inside: readonly string[] = []): Promise<void> {
  await run([...inside, "ip", "-batch", "-"], `${lines.join("\n")}\n`);
}

async function run([program, ...args]: readonly string[], stdin = ""): Promise<void> {
  const child = new Deno.Command(program!, { args, stdin: "piped", stderr: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin));
  await writer.close();
  const { success, stderr } = await child.output();
  if (!success) {
    throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  }
}

/** How a connection through the proxy's SOCKS5 port went. */
export interface Dialled {
  /** The first line that came, or "". */
  readonly text: string;
  readonly ended: string;
}

/** Connects through SOCKS5 to an address or a host name, says hello, reads a line, closes. */
export async function dial(target: string, port: number): Promise<Dialled> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: 15080 });
  const timer = setTimeout(() => close(connection), 12_000);
  let text = "";
  try {
    await connection.write(new Uint8Array([5, 1, 0]));
    await connection.read(new Uint8Array(2));
    await connection.write(
      new Uint8Array([5, 1, 0, ...addressBytes(target), port >> 8, port & 255]),
    );
    const reply = await readExactly(connection, 10).catch(() => null);
    if (reply === null) return { text, ended: "before the reply" };
    if (reply[1] !== 0) return { text, ended: `reply ${reply[1]}` };
    if (reply[3] === 4) await readExactly(connection, 12);
    await connection.write(new TextEncoder().encode("hi\n"));
    const buffer = new Uint8Array(4096);
    while (!text.includes("\n")) {
      const read = await connection.read(buffer);
      if (read === null) return { text, ended: "eof" };
      text += new TextDecoder("latin1").decode(buffer.subarray(0, read));
    }
    return { text, ended: "line" };
  } catch (error) {
    return { text, ended: (error as Error).name };
  } finally {
    clearTimeout(timer);
    close(connection);
  }
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

function addressBytes(target: string): number[] {
  if (/^[\d.]+$/.test(target)) return [1, ...target.split(".").map(Number)];
  if (!target.includes(":")) return [3, target.length, ...new TextEncoder().encode(target)];
  const [head = "", tail = ""] = target.split("::");
  const groups = (part: string) => part === "" ? [] : part.split(":").map((g) => parseInt(g, 16));
  const [first, last] = [groups(head), groups(tail)];
  const all = [...first, ...Array(8 - first.length - last.length).fill(0), ...last];
  return [4, ...all.flatMap((group: number) => [group >> 8, group & 255])];
}

/** Waits until `count` is no longer growing, for what is told after the fact. */
export async function quiet(count: () => number, atLeast: number, withinMs = 2_000): Promise<void> {
  await until(() => count() >= atLeast, withinMs).catch(() => {});
  for (let before = -1; before !== count();) {
    before = count();
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

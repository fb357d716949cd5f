// A pod: a network namespace that lives exactly as long as the process of its applications.
import { PYTHON } from "./environment.ts";

const APPLICATIONS = new URL("pod_applications.py", import.meta.url).pathname;

/** How one exchange of a client with a server went (pod_applications.py). */
export interface Exchange {
  readonly connected: boolean;
  /** Name of the errno, `TIMEOUT`, or null after an orderly end. */
  readonly error: string | null;
  readonly sent: number;
  readonly received: number;
  readonly sentSha256: string | null;
  readonly receivedSha256: string | null;
  /** The first octets received, as Latin-1. */
  readonly text: string;
  readonly local: string | null;
}

/** A connection as a server in a pod saw it. */
export interface ServedConnection {
  /** `ip:port`, IPv4-mapped addresses as IPv4. */
  readonly peer: string;
  readonly local: string;
  readonly received: number;
  readonly sha256: string | null;
  /** `fin`, `reset by us` or the name of an errno; null while it lasts. */
  readonly end: string | null;
}

export interface Target {
  readonly ip: string;
  readonly port: number;
}

export type ServerMode =
  /** Sends back what comes, ends when the client does. */
  | "echo"
  /** The same after `hello\n`. */
  | "greet"
  /** Answers the client's end with the SHA-256 of everything, in hex. */
  | "digest"
  /** RST at the first octets. */
  | "reset"
  /** Says where the client wanted to go, then echoes. */
  | "original";

export class Pod implements AsyncDisposable {
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** Of the process that holds the namespace. */
  readonly pid: number;
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #reading: Promise<void>;
  #asked = 0;

  private constructor(
    child: Deno.ChildProcess,
    { name, ipv4, ipv6 }: { readonly name: string; readonly ipv4: string; readonly ipv6: string },
  ) {
    this.name = name;
    this.ipv4 = ipv4;
    this.ipv6 = ipv6;
    this.pid = child.pid;
    this.#child = child;
    this.#writer = child.stdin.getWriter();
    this.#waiting.set(0, Promise.withResolvers());
    this.#reading = this.#read();
  }

  /** A namespace of its own with nothing in it but a loopback interface that is down. */
  static async create(
    options: { readonly name: string; readonly ipv4: string; readonly ipv6: string },
  ): Promise<Pod> {
    // unshare becomes the program, which ends with its stdin: however this process ends, the namespace goes.
    const child = new Deno.Command("unshare", {
      args: ["--net", "--", PYTHON, "-u", APPLICATIONS],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const pod = new Pod(child, options);
    await pod.#waiting.get(0)!.promise;
    return pod;
  }

  /** Its address of a family. */
  ip(family: 4 | 6): string {
    return family === 4 ? this.ipv4 : this.ipv6;
  }

  /** The number of its network namespace. */
  get namespace(): string {
    return /\d+/.exec(Deno.readLinkSync(`/proc/${this.pid}/ns/net`))![0];
  }

  /** Put before a command line, runs it in the namespace. */
  get enter(): readonly string[] {
    return ["nsenter", `--net=/proc/${this.pid}/ns/net`, "--"];
  }

  /** What `command` prints in the namespace. @throws {Error} with what it said where it fails. */
  run(command: readonly string[], options: { readonly stdin?: string } = {}): Promise<string> {
    return output([...this.enter, ...command], options);
  }

  /** A server on `ip` (all addresses unless told); its port. */
  async serve(
    mode: ServerMode,
    options: Partial<Target> & { readonly transparent?: boolean } = {},
  ): Promise<number> {
    const args = { ip: "::", port: 0, mode, ...options };
    return (await this.#ask<{ port: number }>("serve", args)).port;
  }

  async stopServing(port: number): Promise<void> {
    await this.#ask("stop_serving", { port });
  }

  /** Those who came to the server on `port`, in their order. */
  async served(port: number): Promise<readonly ServedConnection[]> {
    return (await this.#ask<{ connections: ServedConnection[] }>("connections", { port }))
      .connections;
  }

  /** Connects, sends `head` and `bytes` random octets, ends its side, reads to the end. */
  exchange(
    target: Target,
    options: { readonly bytes?: number; readonly head?: string } = {},
  ): Promise<Exchange> {
    return this.#ask("exchange", { ip: target.ip, port: target.port, ...options });
  }

  /** `count` exchanges of `bytes` at once with an echo server; how many got back anything else. */
  many(
    { ip, port }: Target,
    options: { readonly count: number; readonly bytes: number },
  ): Promise<{ failed: number; late: number; failures: Exchange[] }> {
    return this.#ask("many", { ip, port, ...options });
  }

  /** A connection to play with. */
  async open({ ip, port }: Target): Promise<HeldConnection> {
    const { handle, error } = await this.#ask<{ handle: number; error: string | null }>(
      "open",
      { ip, port },
    );
    if (error !== null) throw new Error(`${this.name} cannot connect to ${ip}:${port}: ${error}`);
    const ask = <Answer>(command: string, args: Record<string, unknown> = {}) =>
      this.#ask<Answer>(command, { handle, ...args });
    return new HeldConnection(ask);
  }

  /** GET over HTTP; status 0 where nobody listens. */
  get({ ip, port }: Target, path: string): Promise<{ status: number; body: string }> {
    return this.#ask("get", { ip, port, path });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close();
    await this.#child.status;
    await this.#reading;
  }

  async #ask<Answer>(command: string, args: Record<string, unknown>): Promise<Answer> {
    const id = ++this.#asked;
    const answer = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answer);
    const order = `${JSON.stringify({ id, command, arguments: args })}\n`;
    await this.#writer.write(new TextEncoder().encode(order));
    return await answer.promise as Answer;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const answer = JSON.parse(line) as { id: number; ok?: unknown; broken?: string };
        const waiting = this.#waiting.get(answer.id);
        this.#waiting.delete(answer.id);
        if (answer.broken === undefined) waiting?.resolve(answer.ok);
        else waiting?.reject(new Error(`${this.name}: ${answer.broken}`));
      }
    }
    for (const waiting of this.#waiting.values()) {
      waiting.reject(new Error(`The applications of ${this.name} ended`));
    }
  }
}

type Ask = <Answer>(command: string, args?: Record<string, unknown>) => Promise<Answer>;

/** A client's connection that stays open until the test ends it. */
export class HeldConnection {
  readonly #ask: Ask;

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** Name of the errno where it was refused. */
  async send(text: string): Promise<string | null> {
    return (await this.#ask<{ error: string | null }>("send", { text })).error;
  }

  /** Until `bytes` have come, or the end (`fin` or an errno's name), or `seconds` are over (`TIMEOUT`). */
  receive(
    options: { readonly bytes?: number; readonly seconds?: number } = {},
  ): Promise<{ text: string; end: string | null }> {
    return this.#ask("receive", { ...options });
  }

  async endWrite(): Promise<void> {
    await this.#ask("end_write");
  }

  async close(): Promise<void> {
    await this.#ask("close");
  }

  /** With RST. */
  async reset(): Promise<void> {
    await this.#ask("reset");
  }
}

/**
 * Put before a command line: it is killed when this process ends, however it ends; where that has happened before the
 * kernel could be asked for it, the program does not begin.
 */
export const WITH_PARENT: readonly string[] = [
  ...["setpriv", "--pdeathsig", "KILL", "--"],
  ...["sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', `${Deno.pid}`],
];

/** What a command prints on stdout. @throws {Error} with what it said where it fails. */
export async function output(
  [program, ...args]: readonly string[],
  { stdin }: { readonly stdin?: string } = {},
): Promise<string> {
  const child = new Deno.Command(program!, {
    args,
    stdin: stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  if (stdin !== undefined) {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(stdin));
    await writer.close();
  }
  const { success, stdout, stderr } = await child.output();
  const said = new TextDecoder().decode(stderr).trim();
  if (!success) throw new Error(`${[program, ...args].join(" ")} failed: ${said}`);
  return new TextDecoder().decode(stdout);
}

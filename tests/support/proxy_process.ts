// The product as an operator runs it: a process driven by environment variables, its log read as lines.
import type { TestWorkload } from "./mesh_file.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const READY_PORT = 15021;
const READY_WITHIN_MS = 20_000;
const STOPPED_WITHIN_MS = 15_000;
const LINE_WITHIN_MS = 5_000;

export interface ProxyProcessOptions {
  /** The workload the proxy speaks for; it binds to the workload's address. */
  readonly workload: TestWorkload;
  /** null: the mesh comes from elsewhere. */
  readonly meshFile: string | null;
  readonly caFolder: string;
  /** Added to the environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Discards what the proxy prints on stdout, for measurements; its stderr is kept all the same. */
  readonly discardOutput?: boolean;
  /** Permission flags; all permissions unless given. */
  readonly permissions?: readonly string[];
  /** Given to the runtime before the program, as `--cpu-prof`. */
  readonly runtimeFlags?: readonly string[];
  /** A command that ends in running the rest of its command line as itself, as `nsenter` does. */
  readonly launcher?: readonly string[];
  /** Asks for readiness where this process cannot reach the proxy's port. */
  readonly isReady?: () => Promise<boolean>;
}

/** A line of the access log, `LOG_FORMAT=json`. */
export type AccessLine = Readonly<Record<string, string | number>>;

export class ProxyProcess implements AsyncDisposable {
  readonly ip: string;
  readonly pid: number;
  readonly lines: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  #waiting: (() => void)[] = [];
  #stopped: Promise<Deno.CommandStatus> | null = null;

  private constructor(ip: string, child: Deno.ChildProcess, discardOutput: boolean) {
    this.ip = ip;
    this.pid = child.pid;
    this.#child = child;
    const streams = discardOutput ? [child.stderr] : [child.stdout, child.stderr];
    this.#reading = Promise.all(streams.map((stream) => this.#read(stream)));
  }

  /** Starts the proxy and waits until it is ready. The caller ends it with `stop()` or `await using`. */
  static async start(options: ProxyProcessOptions): Promise<ProxyProcess> {
    const { workload } = options;
    const inherited = ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME"]
      .flatMap((name) => Deno.env.get(name) === undefined ? [] : [[name, Deno.env.get(name)!]]);
    const discardOutput = options.discardOutput ?? false;
    const [program, ...args] = [
      ...options.launcher ?? [],
      ...[Deno.execPath(), "run", "--quiet", "--no-prompt", ...options.permissions ?? ["-A"]],
      ...[...options.runtimeFlags ?? [], "mod.ts", "proxy"],
    ];
    const child = new Deno.Command(program!, {
      args,
      cwd: ROOT,
      clearEnv: true,
      env: definedOnly({
        ...Object.fromEntries(inherited),
        NO_COLOR: "1",
        DENO_TLS_CA_STORE: "",
        PROXY_MODE: "dedicated",
        PROXY_WORKLOAD_INFO: `${workload.namespace}/${workload.name}/${workload.serviceAccount}`,
        LOCAL_XDS_PATH: options.meshFile ?? undefined,
        XDS_ADDRESS: "",
        FAKE_CA: "true",
        FAKE_CA_DIR: options.caFolder,
        UNSTABLE_ENABLE_SOCKS5: "true",
        IPV6_ENABLED: "false",
        BIND_ADDRESS: workload.ip,
        LOG_FORMAT: "json",
        ...options.env,
      }),
      stdin: "null",
      stdout: discardOutput ? "null" : "piped",
      stderr: "piped",
    }).spawn();
    const proxy = new ProxyProcess(workload.ip, child, discardOutput);
    try {
      await proxy.#untilReady(options.isReady ?? (() => answersReady(workload.ip)));
    } catch (error) {
      await proxy.stop();
      throw error;
    }
    return proxy;
  }

  /** The first access line that `matches`, from `from` on, waiting a few seconds for it. */
  accessLine(matches: (line: AccessLine) => boolean): Promise<AccessLine> {
    return this.#line((text) => {
      if (!text.includes('"scope":"access"')) return null;
      const line = JSON.parse(text) as AccessLine;
      return matches(line) ? line : null;
    });
  }

  /** Asks it to end, as an orchestrator does; kills it when it does not. Idempotent. */
  stop(): Promise<Deno.CommandStatus> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(): Promise<Deno.CommandStatus> {
    this.#signal("SIGTERM");
    const killing = setTimeout(() => this.#signal("SIGKILL"), STOPPED_WITHIN_MS);
    const status = await this.#child.status;
    clearTimeout(killing);
    await this.#reading;
    return status;
  }

  #signal(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: it has ended already.
    }
  }

  async #untilReady(isReady: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + READY_WITHIN_MS;
    let ended = false;
    this.#child.status.then(() => ended = true);
    while (performance.now() < deadline && !ended) {
      if (await isReady()) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const said = this.lines.slice(-20).join("\n");
    throw new Error(
      `The proxy on ${this.ip} ${ended ? "ended" : "was not ready in time"}:\n${said}`,
    );
  }

  async #line<Found>(find: (text: string) => Found | null): Promise<Found> {
    const deadline = performance.now() + LINE_WITHIN_MS;
    for (let looked = 0;;) {
      for (; looked < this.lines.length; looked++) {
        const found = find(this.lines[looked]!);
        if (found !== null) return found;
      }
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) {
        const said = this.lines.slice(-20).join("\n");
        throw new Error(`The proxy on ${this.ip} logged no such line:\n${said}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop()!;
      this.lines.push(...parts);
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const wake of waiting) wake();
    }
    if (rest !== "") this.lines.push(rest);
  }
}

async function answersReady(ip: string): Promise<boolean> {
  try {
    const response = await fetch(`http://${ip}:${READY_PORT}/healthz/ready`);
    await response.body?.cancel();
    return response.status === 200;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // TypeError: not listening yet.
    return false;
  }
}

function definedOnly(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

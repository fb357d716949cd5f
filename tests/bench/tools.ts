// The programs that make load: iperf3 under proxychains4, and a load generator of our own, built with Go.
import type { Entry } from "./chain.ts";
import { Background, run, ToolError, until } from "./processes.ts";

const BUSY_ATTEMPTS_MAX = 50;
const BUSY_RETRY_MS = 300;
const SERVERS_READY_MS = 5_000;

/** What `loadgen` prints; times in microseconds. */
export interface LoadReport {
  readonly samples: number;
  readonly errors: number;
  readonly firstError?: string;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** Samples from 24 to 36 ms. */
  readonly before: number;
  /** Samples from 36 to 48 ms. */
  readonly delayed: number;
}

export interface BulkReport {
  readonly bytes: number;
  readonly bitsPerSecond: number;
}

/** The servers behind the proxies of one place, on every address of it. */
export interface Servers extends AsyncDisposable {
  readonly iperfPort: number;
  readonly echoPort: number;
  readonly roles: ReadonlyMap<number, string>;
}

/** Connections that stay open, as many as told. */
export interface Holder extends AsyncDisposable {
  readonly pid: number;
  /** Resolves once exactly `count` are open and each has carried an octet both ways. */
  hold(count: number): Promise<void>;
}

/** The tools, checked and built; disposing removes what was built. */
export class Tools implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async build(): Promise<Tools> {
    await run(["iperf3", "--version"], "Debian's iperf3");
    await run(["proxychains4", "/bin/true"], "Debian's proxychains4");
    const folder = await Deno.makeTempDir({ prefix: "bench-tools-" });
    await using opened = new AsyncDisposableStack();
    opened.defer(() => Deno.remove(folder, { recursive: true }));
    const source = new URL("loadgen/main.go", import.meta.url).pathname;
    await run(["go", "build", "-o", `${folder}/loadgen`, source], "Go, 1.22 or newer");
    opened.move(); // Removed by our own disposal from here on.
    return new Tools(folder);
  }

  get #loadgen(): string {
    return `${this.#folder}/loadgen`;
  }

  /** Starts the servers; with `within` as in {@link Entry}. */
  async serve(within: readonly string[]): Promise<Servers> {
    await using opened = new AsyncDisposableStack();
    const [iperfPort, echoPort] = [freePort(), freePort()];
    const iperf = opened.use(new Background([...within, "iperf3", "-s", "-p", `${iperfPort}`]));
    const echo = opened.use(
      new Background([...within, this.#loadgen, "serve", "-listen", `0.0.0.0:${echoPort}`]),
    );
    const probe = [...within, this.#loadgen, "connect", "-seconds", "0.01", "-target"];
    await until("echo server", () => succeeds([...probe, `127.0.0.1:${echoPort}`]), {
      withinMs: SERVERS_READY_MS,
      process: echo,
    });
    const owned = opened.move();
    return {
      iperfPort,
      echoPort,
      roles: new Map([[iperf.pid, "iperf3 -s"], [echo.pid, "echo"]]),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  }

  /** iperf3 for `seconds`; `reverse` sends from the server. */
  async bulk(
    entry: Entry,
    options: { readonly seconds: number; readonly streams: number; readonly reverse: boolean },
  ): Promise<BulkReport> {
    const iperf = ["iperf3", "-c", entry.targetIp, "-p", `${entry.iperfPort}`, "-J"];
    iperf.push("-t", `${options.seconds}`, "-P", `${options.streams}`);
    if (options.reverse) iperf.push("-R");
    const chained = entry.socks === null ? [] : await this.#proxychains(entry.socks);
    const text = await whenFree([...entry.within, ...chained, ...iperf], options.seconds);
    const start = text.indexOf("{"); // Warnings may stand in front.
    if (start < 0) throw new ToolError(`iperf3 gave no report: ${text}`);
    const report = JSON.parse(text.slice(start));
    if (report.error !== undefined) throw new ToolError(`iperf3: ${report.error}`);
    const { bytes, bits_per_second: bitsPerSecond } = report.end.sum_received;
    return { bytes, bitsPerSecond };
  }

  /** `loadgen pingpong` with 1 KB requests, or `loadgen connect`. */
  async load(
    entry: Entry,
    options: {
      readonly kind: "pingpong" | "connect";
      readonly seconds: number;
      readonly connections: number;
    },
  ): Promise<LoadReport> {
    const { kind, seconds, connections } = options;
    const text = await run(
      [
        ...this.#client(entry, kind),
        ...["-connections", `${connections}`, "-seconds", `${seconds}`],
      ],
      "loadgen",
      { timeoutMs: seconds * 1000 + 30_000 },
    );
    const report = JSON.parse(text) as LoadReport;
    if (report.errors > 0) throw new ToolError(`loadgen ${kind}: ${report.firstError}`);
    return report;
  }

  /** `loadgen hold`, with nothing open yet. */
  holder(entry: Entry): Holder {
    const [program, ...args] = this.#client(entry, "hold");
    const child = new Deno.Command(program!, {
      args,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const writer = child.stdin.getWriter();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    return {
      pid: child.pid,
      async hold(count) {
        await writer.write(new TextEncoder().encode(`${count}\n`));
        let said = "";
        while (!said.includes("\n")) {
          const { value, done } = await reader.read();
          if (done) throw new ToolError(`loadgen hold ended before it held ${count} connections`);
          said += value;
        }
        if (said !== `${count}\n`) throw new ToolError(`loadgen hold said ${said}, not ${count}`);
      },
      async [Symbol.asyncDispose]() {
        await writer.close().catch(() => {}); // It may have ended by itself.
        await reader.cancel();
        await child.status;
      },
    };
  }

  /** The body at `url`, asked from within. */
  get(within: readonly string[], url: string): Promise<string> {
    return run([...within, this.#loadgen, "get", "-url", url], "loadgen");
  }

  #client(entry: Entry, kind: string): string[] {
    const target = `${entry.targetIp}:${entry.echoPort}`;
    const socks = entry.socks === null ? [] : ["-socks", entry.socks];
    return [...entry.within, this.#loadgen, kind, ...socks, "-target", target];
  }

  async #proxychains(socks: string): Promise<string[]> {
    const config = `${this.#folder}/${socks}.conf`;
    const [ip, port] = socks.split(":");
    await Deno.writeTextFile(
      config,
      `strict_chain\ntcp_read_time_out 15000\ntcp_connect_time_out 8000\n[ProxyList]\nsocks5 ${ip} ${port}\n`,
    );
    return ["proxychains4", "-q", "-f", config];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** iperf3's server takes one test at a time, and the last one may still be draining from a chain. */
async function whenFree(command: readonly string[], seconds: number): Promise<string> {
  const timeoutMs = seconds * 1000 + 20_000;
  const isBusy = (text: string) => text.includes("the server is busy");
  for (let attempt = 1;; attempt++) {
    try {
      const text = await run(command, "Debian's iperf3", { timeoutMs });
      if (!isBusy(text) || attempt === BUSY_ATTEMPTS_MAX) return text;
    } catch (error) {
      const again = error instanceof ToolError && isBusy(error.message);
      if (!again || attempt === BUSY_ATTEMPTS_MAX) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, BUSY_RETRY_MS));
  }
}

async function succeeds(command: readonly string[]): Promise<boolean> {
  try {
    await run(command, "loadgen");
    return true;
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    return false;
  }
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "0.0.0.0", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

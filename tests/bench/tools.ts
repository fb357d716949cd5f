// The programs the bench drives: iperf3 under proxychains4, and its own load generator, built with Go.
import type { Arm } from "./arms.ts";

const BUSY_ATTEMPTS_MAX = 50;
const BUSY_RETRY_MS = 300;

/** A tool is missing or failed; says which package has it. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}

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

/** The tools, started and ready; disposing ends the servers and removes what was built. */
export class Tools implements AsyncDisposable {
  readonly #opened: AsyncDisposableStack;
  readonly #folder: string;
  readonly #iperfPort: number;
  readonly #echoPort: number;

  private constructor(
    opened: AsyncDisposableStack,
    folder: string,
    ports: { readonly iperf: number; readonly echo: number },
  ) {
    this.#opened = opened;
    this.#folder = folder;
    this.#iperfPort = ports.iperf;
    this.#echoPort = ports.echo;
  }

  static async start(): Promise<Tools> {
    const folder = await Deno.makeTempDir({ prefix: "bench-tools-" });
    await using opened = new AsyncDisposableStack();
    opened.defer(() => Deno.remove(folder, { recursive: true }));
    await run("iperf3", ["--version"], "Debian's iperf3");
    await run("proxychains4", ["/bin/true"], "Debian's proxychains4");
    const source = new URL("loadgen/main.go", import.meta.url).pathname;
    await run("go", ["build", "-o", `${folder}/loadgen`, source], "Go, 1.22 or newer");
    const iperf = freePort();
    opened.use(background("iperf3", ["-s", "-p", `${iperf}`]));
    const echo = freePort();
    opened.use(background(`${folder}/loadgen`, ["serve", "-listen", `0.0.0.0:${echo}`]));
    return new Tools(opened.move(), folder, { iperf, echo });
  }

  /** iperf3 for `seconds` through the arm; `reverse` sends from the server. */
  async bulk(
    arm: Arm,
    options: { readonly seconds: number; readonly streams: number; readonly reverse: boolean },
  ): Promise<BulkReport> {
    const config = `${this.#folder}/${arm.socksIp}.conf`;
    await Deno.writeTextFile(
      config,
      `strict_chain\ntcp_read_time_out 15000\ntcp_connect_time_out 8000\n[ProxyList]\nsocks5 ${arm.socksIp} 15080\n`,
    );
    const iperf = ["iperf3", "-c", arm.targetIp, "-p", `${this.#iperfPort}`, "-J"];
    iperf.push("-t", `${options.seconds}`, "-P", `${options.streams}`);
    if (options.reverse) iperf.push("-R");
    const text = await this.#whenFree(["-q", "-f", config, ...iperf], options.seconds);
    const start = text.indexOf("{"); // Warnings may stand in front.
    if (start < 0) throw new ToolError(`iperf3 gave no report: ${text}`);
    const report = JSON.parse(text.slice(start));
    if (report.error !== undefined) throw new ToolError(`iperf3: ${report.error}`);
    const { bytes, bits_per_second: bitsPerSecond } = report.end.sum_received;
    return { bytes, bitsPerSecond };
  }

  /** iperf3's server takes one test at a time, and the last one may still be draining from a chain. */
  async #whenFree(args: readonly string[], seconds: number): Promise<string> {
    const timeoutMs = seconds * 1000 + 20_000;
    for (let attempt = 1;; attempt++) {
      const text = await run("proxychains4", args, "Debian's iperf3", { timeoutMs });
      if (!text.includes("the server is busy") || attempt === BUSY_ATTEMPTS_MAX) return text;
      await new Promise((resolve) => setTimeout(resolve, BUSY_RETRY_MS));
    }
  }

  /** `loadgen pingpong` with 1 KB requests, or `loadgen connect`. */
  async load(
    arm: Arm,
    options: {
      readonly kind: "pingpong" | "connect";
      readonly seconds: number;
      readonly connections: number;
    },
  ): Promise<LoadReport> {
    const text = await run(
      `${this.#folder}/loadgen`,
      [
        options.kind,
        ...["-socks", `${arm.socksIp}:15080`, "-target", `${arm.targetIp}:${this.#echoPort}`],
        ...["-connections", `${options.connections}`, "-seconds", `${options.seconds}`],
      ],
      "loadgen",
      { timeoutMs: options.seconds * 1000 + 30_000 },
    );
    const report = JSON.parse(text) as LoadReport;
    if (report.errors > 0) throw new ToolError(`loadgen ${options.kind}: ${report.firstError}`);
    return report;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "0.0.0.0", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

function background(program: string, args: readonly string[]): AsyncDisposable {
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGTERM");
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // TypeError: it has ended already.
      }
      await child.status;
    },
  };
}

/** Runs to the end and gives stdout. @throws {ToolError} naming `packageName` when it is not there. */
async function run(
  program: string,
  args: readonly string[],
  packageName: string,
  options: { readonly timeoutMs?: number } = {},
): Promise<string> {
  try {
    const output = await new Deno.Command(program, {
      args: [...args],
      stdin: "null",
      signal: AbortSignal.timeout(options.timeoutMs ?? 300_000),
    }).output();
    const text = new TextDecoder().decode(output.stdout);
    if (output.success) return text;
    // iperf3 says what went wrong in its report, on stdout.
    const said = (new TextDecoder().decode(output.stderr) + text).trim().slice(-600);
    throw new ToolError(`${program} ${args.join(" ")} ended with ${output.code}: ${said}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new ToolError(`Cannot run ${program}: it is not installed, and needs ${packageName}`);
  }
}

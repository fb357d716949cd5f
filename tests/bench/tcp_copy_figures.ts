// Plain TCP through `Copy`, on both networks in one run: deno run -A tests/bench/tcp_copy_figures.ts LOADGEN
// LOADGEN is the built tests/bench/loadgen; iperf3 must be on the path. With `forward KIND PORT` it is the proxy itself.
import { ProxyError } from "../../src/base/errors.ts";
import { SystemClock } from "../../src/base/system_clock.ts";
import { Copy } from "../../src/net/copy.ts";
import { DenoNetwork } from "../../src/net/deno/deno_network.ts";
import { Libc } from "../../src/net/native/libc.ts";
import { CountedObjects } from "../../src/net/native/live_objects.ts";
import { NativeLoop } from "../../src/net/native/loop.ts";
import { NativeNetwork } from "../../src/net/native/native_network.ts";
import type { Network } from "../../src/net/network.ts";
import { cpuSeconds } from "../support/process_stats.ts";

const LOOPBACK = "127.0.0.1";
const ROUNDS = Number(Deno.env.get("ROUNDS") ?? 3);
const SECONDS = Number(Deno.env.get("SECONDS") ?? 2);

/** Copies every connection to `port`, and says on which port it listens. */
function forward(network: Network, port: number): void {
  network.listen(
    { ip: LOOPBACK, port: 0 },
    { backlog: 4096, keepalive: null },
    (client) => {
      const options = { timeoutMs: 5000, keepalive: null, sourceIp: null };
      network.dial({ ip: LOOPBACK, port }, options, (server) => {
        if (server instanceof ProxyError) return client.reset(server);
        const counters = { bytesToServer: 0, bytesToClient: 0 };
        new Copy({ client, server, counters, done() {} }).start();
      });
    },
    (listener) => {
      if (listener instanceof ProxyError) throw listener;
      Deno.stdout.writeSync(new TextEncoder().encode(`${listener.local.port}\n`));
    },
  );
}

function runForwarder(kind: string, port: number): void {
  if (kind === "deno") return forward(new DenoNetwork({ clock: new SystemClock() }), port);
  const libc = Libc.open();
  const objects = new CountedObjects();
  const loop = new NativeLoop({
    libc,
    objects,
    onBug: reportError,
    spinUs: Number(Deno.env.get("SPIN_US") ?? 0),
  });
  const parts = { libc, loop, objects, tls: null, packetMark: null };
  forward(new NativeNetwork({ ...parts, markListeners: false, reusePort: false }), port);
  loop.run();
}

async function text(command: string, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args }).output();
  if (code !== 0 && command !== "iperf3") {
    throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  }
  return new TextDecoder().decode(stdout);
}

class Forwarder implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly port: number;

  private constructor(child: Deno.ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  static async start(kind: string, port: number): Promise<Forwarder> {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        "--quiet",
        import.meta.filename!,
        "forward",
        kind,
        `${port}`,
      ],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    const { value } = await reader.read();
    await reader.cancel();
    return new Forwarder(child, Number(new TextDecoder().decode(value)));
  }

  get cpuSeconds(): number {
    return cpuSeconds(this.#child.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}

type Figures = Map<string, number[]>;

function note(figures: Figures, name: string, value: number): void {
  const values = figures.get(name) ?? [];
  figures.set(name, values);
  values.push(value);
}

/** iperf3's server takes one test at a time, and the last one may still be draining. */
async function iperf(
  port: number,
  flags: readonly string[],
): Promise<{ bytes: number; bits_per_second: number }> {
  const to = ["-c", LOOPBACK, "-p", `${port}`];
  for (;;) {
    const report = JSON.parse(await text("iperf3", [...to, "-t", `${SECONDS}`, "-J", ...flags]));
    if (report.error === undefined) return report.end.sum_received;
    if (!report.error.includes("busy")) throw new Error(report.error);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

async function bulk(figures: Figures, forwarder: Forwarder): Promise<void> {
  for (
    const [name, flags] of [["bulk", []], ["bulk back", ["-R"]], ["bulk ×8", ["-P8"]]] as const
  ) {
    const before = forwarder.cpuSeconds;
    const { bytes, bits_per_second } = await iperf(forwarder.port, flags);
    note(figures, `${name} Gb/s`, bits_per_second / 1e9);
    note(figures, `${name} CPU s/GB`, (forwarder.cpuSeconds - before) / (bytes / 1e9));
  }
}

async function pingPong(figures: Figures, forwarder: Forwarder, loadgen: string): Promise<void> {
  const target = `${LOOPBACK}:${forwarder.port}`;
  for (
    const [name, verb, connections] of [
      ["ping-pong ×1", "pingpong", 1],
      ["ping-pong ×50", "pingpong", 50],
      ["connects", "connect", 8],
    ] as const
  ) {
    const before = forwarder.cpuSeconds;
    const out = await text(loadgen, [
      verb,
      ...["-target", target, "-connections", `${connections}`, "-seconds", `${SECONDS}`],
    ]);
    const { perSecond, p50, p99, samples } = JSON.parse(out);
    note(figures, `${name} per second`, perSecond);
    note(figures, `${name} p50 µs`, p50);
    note(figures, `${name} p99 µs`, p99);
    note(figures, `${name} CPU µs each`, (forwarder.cpuSeconds - before) * 1e6 / samples);
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

if (Deno.args[0] === "forward") {
  runForwarder(Deno.args[1]!, Number(Deno.args[2]));
} else {
  const loadgen = Deno.args[0]!;
  const [iperfPort, echoPort] = [17001, 17002];
  const sink = new Deno.Command("iperf3", {
    args: ["-s", "-p", `${iperfPort}`],
    stdout: "null",
  }).spawn();
  const echo = new Deno.Command(loadgen, {
    args: ["serve", "-listen", `${LOOPBACK}:${echoPort}`],
    stdout: "null",
  }).spawn();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const all = new Map<string, Figures>([["deno", new Map()], ["native", new Map()]]);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [kind, figures] of all) {
      {
        await using forwarder = await Forwarder.start(kind, iperfPort);
        await bulk(figures, forwarder);
      }
      await using forwarder = await Forwarder.start(kind, echoPort);
      await pingPong(figures, forwarder, loadgen);
    }
  }
  for (const server of [sink, echo]) {
    server.kill("SIGKILL");
    await server.status;
  }
  const say = (line: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
  for (const name of all.get("deno")!.keys()) {
    const deno = median(all.get("deno")!.get(name)!);
    const native = median(all.get("native")!.get(name)!);
    const show = (value: number) => value.toPrecision(3).padStart(9);
    say(`${name.padEnd(28)}${show(deno)}${show(native)}  ×${(native / deno).toFixed(2)}`);
  }
}

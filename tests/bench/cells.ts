// The measurements: each takes a running chain and gives numbers in the order of its measures.
import { cpuSeconds, residentBytes } from "../support/process_stats.ts";
import { CONNECT_TLS, DENO, NATIVE, NATIVE_SYSTEM } from "./arms.ts";
import type { Arm, Chain, Variant } from "./chain.ts";
import { dataPlaneSleeps, parseLoopReport } from "./loop_health.ts";
import type { Measure } from "./report.ts";
import type { Tools } from "./tools.ts";
import { verdictCost } from "./verdict_cost.ts";

/** Connections that the memory cell opens first, so that code and pools are there … */
const HELD_FIRST = 100;
/** … and those it opens then, and divides by. */
export const HELD = 1_000;
/** Until buffers of the set-up are given back. */
const SETTLE_MS = 1_500;
const CONNECT_WORKERS = 16;

export interface Cell {
  readonly name: string;
  readonly measures: readonly Measure[];
  /** Which chain it works on; "own" starts one of its own each time. */
  readonly chain: Variant | "own";
  /** NaN where an arm has no such number. */
  run(parts: CellParts): Promise<readonly number[]>;
}

export interface CellParts {
  readonly tools: Tools;
  readonly arm: Arm;
  /** A fresh one for cells that ask for their own. */
  readonly chain: Chain;
  readonly seconds: number;
}

/** CPU seconds of the outbound and the inbound proxy; none without a proxy. */
function cpuOf({ proxies }: Chain): readonly [number, number] {
  if (proxies === null) return [NaN, NaN];
  return [cpuSeconds(proxies.outboundPid), cpuSeconds(proxies.inboundPid)];
}

/** Of both together, in octets. */
function residentOf({ proxies }: Chain): readonly [number, number] {
  if (proxies === null) return [NaN, NaN];
  return [residentBytes(proxies.outboundPid), residentBytes(proxies.inboundPid)];
}

function bulkCell(streams: number, reverse: boolean): Cell {
  const name = `bulk ${streams} stream${streams > 1 ? "s" : ""} ${reverse ? "reverse" : "forward"}`;
  return {
    name,
    chain: "pooled",
    measures: [
      { name, unit: "Gb/s", digits: 2 },
      { name: `${name}, CPU both`, unit: "s/GB", digits: 2 },
      { name: `${name}, CPU outbound`, unit: "s/GB", digits: 2 },
      { name: `${name}, CPU inbound`, unit: "s/GB", digits: 2 },
    ],
    async run({ tools, chain, seconds }) {
      const before = cpuOf(chain);
      const report = await tools.bulk(chain.entry, { seconds, streams, reverse });
      const after = cpuOf(chain);
      const [out, into] = after.map((each, at) => (each - before[at]!) / (report.bytes / 1e9));
      return [report.bitsPerSecond / 1e9, out! + into!, out!, into!];
    },
  };
}

function pingPongCell(connections: number): Cell {
  const name = `1 KB ping-pong, ${connections} conn`;
  return {
    name,
    chain: "pooled",
    measures: [
      { name: `${name}, requests`, unit: "1/s", digits: 0 },
      { name: `${name}, p50`, unit: "µs", digits: 0 },
      { name: `${name}, p99`, unit: "µs", digits: 0 },
      { name: `${name}, p99.9`, unit: "µs", digits: 0 },
      { name: `${name}, 40 ms mode`, unit: "%", digits: 3 },
      { name: `${name}, CPU both`, unit: "µs/req", digits: 1 },
    ],
    async run({ tools, chain, seconds }) {
      const before = cpuOf(chain);
      const load = await tools.load(chain.entry, { kind: "pingpong", seconds, connections });
      const after = cpuOf(chain);
      const cpu = after[0] + after[1] - before[0] - before[1];
      // A tail of a busy machine falls from the band before to this one; a mode rises.
      const mode = load.delayed > load.before ? load.delayed / load.samples : 0;
      const { perSecond, p50, p99, p999 } = load;
      return [perSecond, p50, p99, p999, mode * 100, cpu * 1e6 / load.samples];
    },
  };
}

function connectCell(name: string, variant: "pooled"): Cell {
  return {
    name,
    chain: variant,
    measures: connectMeasures(name),
    run: measureConnects,
  };
}

function connectMeasures(name: string): Measure[] {
  return [
    { name, unit: "1/s", digits: 0 },
    { name: `${name}, p99`, unit: "µs", digits: 0 },
    { name: `${name}, CPU both`, unit: "µs", digits: 0 },
  ];
}

async function measureConnects(
  { tools, chain, seconds }: CellParts,
): Promise<[number, number, number]> {
  const before = cpuOf(chain);
  const options = { kind: "connect", seconds, connections: CONNECT_WORKERS } as const;
  const load = await tools.load(chain.entry, options);
  const after = cpuOf(chain);
  const cpu = after[0] + after[1] - before[0] - before[1];
  return [load.perSecond, load.p99, cpu * 1e6 / load.samples];
}

export const MEMORY_PER_CONNECTION = `memory per held connection, at ${HELD}`;

const MEMORY_CELL: Cell = {
  name: "memory",
  chain: "own",
  measures: [
    { name: "memory idle, outbound", unit: "MiB", digits: 1 },
    { name: "memory idle, inbound", unit: "MiB", digits: 1 },
    { name: MEMORY_PER_CONNECTION, unit: "KiB both", digits: 2 },
    { name: `memory holding ${HELD}, both`, unit: "MiB", digits: 1 },
    { name: "memory after load, both", unit: "MiB", digits: 1 },
  ],
  async run({ tools, chain }) {
    await settle();
    const idle = residentOf(chain);
    const [first, held] = await (async () => {
      await using holder = tools.holder(chain.entry);
      await holder.hold(HELD_FIRST);
      await settle();
      const first = residentOf(chain);
      await holder.hold(HELD_FIRST + HELD);
      await settle();
      return [first, residentOf(chain)];
    })();
    await tools.load(chain.entry, { kind: "pingpong", seconds: 1, connections: 50 });
    await tools.bulk(chain.entry, { seconds: 1, streams: 4, reverse: false });
    await tools.bulk(chain.entry, { seconds: 1, streams: 4, reverse: true });
    const after = residentOf(chain);
    const each = (held![0] + held![1] - first![0] - first![1]) / HELD;
    const mib = (octets: number) => octets / 2 ** 20;
    return [
      mib(idle[0]),
      mib(idle[1]),
      each / 1024,
      mib(held![0] + held![1]),
      mib(after[0] + after[1]),
    ];
  },
};

export const IDLE_WAKES = "idle, wakes of a data plane";
export const TURN_P99 = "50 busy connections, loop turn p99";

/** The worse of the two proxies counts. */
const LOOP_CELL: Cell = {
  name: "loop health",
  chain: "pooled",
  measures: [
    { name: IDLE_WAKES, unit: "1/s", digits: 2 },
    { name: TURN_P99, unit: "µs", digits: 0 },
    { name: "loop turn max since start", unit: "µs", digits: 0 },
  ],
  async run({ tools, chain, seconds }) {
    if (chain.proxies === null || chain.admin === undefined) return [NaN, NaN, NaN];
    await settle();
    const { outboundPid, inboundPid } = chain.proxies;
    const sleeps = () => [outboundPid, inboundPid].map(dataPlaneSleeps);
    const before = sleeps();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const wakes = sleeps().map((after, at) => (after - before[at]!) / seconds);
    await tools.load(chain.entry, { kind: "pingpong", seconds, connections: 50 });
    const dumps = [
      await chain.admin("outbound", "/config_dump"),
      await chain.admin("inbound", "/config_dump"),
    ];
    const loops = dumps.map(parseLoopReport);
    return [
      Math.max(...wakes),
      Math.max(...loops.map(({ turnP99Us }) => turnP99Us)),
      Math.max(...loops.map(({ turnMaxUs }) => turnMaxUs)),
    ];
  },
};

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}

export const POOLED_CONNECTIONS = "new connections over the pool";
export const UNPOOLED_CONNECTIONS = "new connections, a handshake each";
/** Of the CPU of such a connection in both proxies. */
export const VERIFICATION_SHARE = `${UNPOOLED_CONNECTIONS}, own verification`;

/** Those whose peers are judged by the code that is measured. */
const OUR_ARMS: readonly string[] = [DENO, CONNECT_TLS, NATIVE, NATIVE_SYSTEM];
/** Handshakes over which the cost of our verdicts is averaged. */
const VERDICTS_JUDGED = 1_000;

const HANDSHAKE_CELL: Cell = {
  name: UNPOOLED_CONNECTIONS,
  chain: "unpooled",
  measures: [
    ...connectMeasures(UNPOOLED_CONNECTIONS),
    { name: `${VERIFICATION_SHARE}, CPU`, unit: "µs", digits: 0 },
    { name: `${VERIFICATION_SHARE}, CPU without cache`, unit: "µs", digits: 0 },
    { name: VERIFICATION_SHARE, unit: "%", digits: 1 },
    { name: `${VERIFICATION_SHARE} without cache`, unit: "%", digits: 1 },
  ],
  async run(parts) {
    const connects = await measureConnects(parts);
    if (!OUR_ARMS.includes(parts.arm.name)) return [...connects, NaN, NaN, NaN, NaN];
    const { cachedUs, uncachedUs } = await verdictCost({ handshakes: VERDICTS_JUDGED });
    const shares = [cachedUs, uncachedUs].map((us) => us * 100 / connects[2]);
    return [...connects, cachedUs, uncachedUs, ...shares];
  },
};

export const CELLS: readonly Cell[] = [
  bulkCell(1, false),
  bulkCell(1, true),
  bulkCell(8, false),
  bulkCell(8, true),
  pingPongCell(1),
  pingPongCell(50),
  connectCell(POOLED_CONNECTIONS, "pooled"),
  HANDSHAKE_CELL,
  MEMORY_CELL,
  LOOP_CELL,
];

/** Until code that runs once per connection is compiled as it will be: some thousands of connections. */
const CONNECT_WARM_UP_SECONDS = 3;

/** Makes a chain that was just started ready to be measured. */
export async function warmUp(tools: Tools, { entry }: Chain, variant: Variant): Promise<void> {
  const connect = (connections: number, seconds: number) =>
    tools.load(entry, { kind: "connect", seconds, connections });
  // Several at once as the very first would hang in the original when nobody shares: the losers wait for ever.
  await connect(1, 0.2);
  await connect(CONNECT_WORKERS, CONNECT_WARM_UP_SECONDS);
  if (variant === "unpooled") return;
  await tools.bulk(entry, { seconds: 1, streams: 4, reverse: false });
  await tools.bulk(entry, { seconds: 1, streams: 4, reverse: true });
  await tools.load(entry, { kind: "pingpong", seconds: 1, connections: 50 });
}

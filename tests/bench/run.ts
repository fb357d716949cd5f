// `deno task bench`: our proxies beside the same chain made with node:http2, in one run, interleaved.
//
//   --check          exit 1 when a goal is missed
//   --seconds N      length of each measurement (4)
//   --runs N         how often each is repeated; the table shows medians (3)
//   --only TEXT      only measurements whose name holds TEXT
//   --arms A,B       only these arms: http2, node, deno
//   --results DIR    where the JSON goes (bench-results/)
//   --flags "…"      flags of the runtime for our processes, as --cpu-prof
import { parseArgs } from "@std/cli/parse-args";
import { cpuSeconds, residentBytes } from "../support/process_stats.ts";
import { type Arm, ARM_NAMES, type ArmName, BASELINE, DEFAULT_ARM, startArm } from "./arms.ts";
import { type Goal, judgeGoals, type Measure, type Sample, tableLines } from "./report.ts";
import { ToolError, Tools } from "./tools.ts";

const THROUGHPUT_RATIO_MIN = 1.6;
const CPU_RATIO_MAX = 0.6;
/** A mode at 40 ms shows at least this share of samples there, and more than in the band before it. */
const DELAYED_SHARE_MAX = 0.0002;
const WARM_UP_SECONDS = 1;
/** What `--arms` calls them. */
const ARM_KEYS: Readonly<Record<string, ArmName>> = {
  http2: BASELINE,
  node: DEFAULT_ARM,
  deno: "ours, deno dialer",
};
const RESULTS_FOLDER = new URL("../../bench-results", import.meta.url).pathname;

interface Cell {
  readonly name: string;
  readonly measures: readonly Measure[];
  run(tools: Tools, arm: Arm, seconds: number): Promise<readonly number[]>;
}

function bulkCell(streams: number, reverse: boolean): Cell {
  const name = `bulk ${streams} stream${streams > 1 ? "s" : ""} ${reverse ? "reverse" : "forward"}`;
  return {
    name,
    measures: [
      { name, unit: "Gb/s", digits: 2 },
      { name: `${name}, CPU both`, unit: "s/GB", digits: 2 },
      { name: `${name}, CPU outbound`, unit: "s/GB", digits: 2 },
      { name: `${name}, CPU inbound`, unit: "s/GB", digits: 2 },
    ],
    async run(tools, arm, seconds) {
      const outbound = cpuSeconds(arm.outboundPid);
      const inbound = cpuSeconds(arm.inboundPid);
      const { bytes, bitsPerSecond } = await tools.bulk(arm, { seconds, streams, reverse });
      const gigabytes = bytes / 1e9;
      const out = (cpuSeconds(arm.outboundPid) - outbound) / gigabytes;
      const into = (cpuSeconds(arm.inboundPid) - inbound) / gigabytes;
      return [bitsPerSecond / 1e9, out + into, out, into];
    },
  };
}

function pingPongCell(connections: number): Cell {
  const name = `1 KB ping-pong, ${connections} conn`;
  return {
    name,
    measures: [
      { name: `${name}, requests`, unit: "1/s", digits: 0 },
      { name: `${name}, p50`, unit: "µs", digits: 0 },
      { name: `${name}, p99`, unit: "µs", digits: 0 },
      { name: `${name}, p99.9`, unit: "µs", digits: 0 },
      { name: `${name}, 40 ms mode`, unit: "%", digits: 3 },
      { name: `${name}, CPU both`, unit: "µs/req", digits: 1 },
    ],
    async run(tools, arm, seconds) {
      const before = cpuSeconds(arm.outboundPid) + cpuSeconds(arm.inboundPid);
      const load = await tools.load(arm, { kind: "pingpong", seconds, connections });
      const cpu = cpuSeconds(arm.outboundPid) + cpuSeconds(arm.inboundPid) - before;
      // A tail of a busy machine falls from the band before to this one; a mode rises.
      const mode = load.delayed > load.before ? load.delayed / load.samples : 0;
      const { perSecond, p50, p99, p999 } = load;
      return [perSecond, p50, p99, p999, mode * 100, cpu * 1e6 / load.samples];
    },
  };
}

const CONNECT_CELL: Cell = {
  name: "new connections",
  measures: [
    { name: "new connections over the pool", unit: "1/s", digits: 0 },
    { name: "new connections, p99", unit: "µs", digits: 0 },
    { name: "new connections, CPU both", unit: "µs", digits: 0 },
    { name: "resident after all, outbound", unit: "MiB", digits: 0 },
    { name: "resident after all, inbound", unit: "MiB", digits: 0 },
  ],
  async run(tools, arm, seconds) {
    const before = cpuSeconds(arm.outboundPid) + cpuSeconds(arm.inboundPid);
    const load = await tools.load(arm, { kind: "connect", seconds, connections: 16 });
    const cpu = cpuSeconds(arm.outboundPid) + cpuSeconds(arm.inboundPid) - before;
    const resident = [arm.outboundPid, arm.inboundPid].map((pid) => residentBytes(pid) / 2 ** 20);
    return [load.perSecond, load.p99, cpu * 1e6 / load.samples, ...resident];
  },
};

const CELLS: readonly Cell[] = [
  bulkCell(1, false),
  bulkCell(1, true),
  bulkCell(8, false),
  bulkCell(8, true),
  pingPongCell(1),
  pingPongCell(50),
  CONNECT_CELL,
];

/** Promises about the default dialer, for the cells that ran. */
function goalsOf(cells: readonly Cell[]): Goal[] {
  const common = { arm: DEFAULT_ARM, against: BASELINE };
  return cells.flatMap(({ name }): Goal[] => {
    if (name.startsWith("bulk")) {
      return [
        { ...common, name: `${name}: throughput`, measure: name, atLeast: THROUGHPUT_RATIO_MIN },
        { ...common, name: `${name}: CPU`, measure: `${name}, CPU both`, atMost: CPU_RATIO_MAX },
      ];
    }
    if (!name.includes("ping-pong")) return [];
    const measure = `${name}, 40 ms mode`;
    const atMost = DELAYED_SHARE_MAX * 100;
    return [{ name: `${name}: no 40 ms mode`, measure, arm: DEFAULT_ARM, against: null, atMost }];
  });
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

async function measure(
  tools: Tools,
  arms: readonly Arm[],
  options: { readonly cells: readonly Cell[]; readonly runs: number; readonly seconds: number },
): Promise<Sample[]> {
  for (const arm of arms) {
    await tools.bulk(arm, { seconds: WARM_UP_SECONDS, streams: 4, reverse: false });
    await tools.bulk(arm, { seconds: WARM_UP_SECONDS, streams: 4, reverse: true });
    await tools.load(arm, { kind: "pingpong", seconds: WARM_UP_SECONDS, connections: 50 });
  }
  const samples: Sample[] = [];
  for (let run = 0; run < options.runs; run++) {
    for (const cell of options.cells) {
      // Each run starts with another arm, so that none always follows the same one.
      for (let turn = 0; turn < arms.length; turn++) {
        const arm = arms[(turn + run) % arms.length]!;
        const values = await cell.run(tools, arm, options.seconds);
        for (const [index, { name }] of cell.measures.entries()) {
          samples.push({ arm: arm.name, measure: name, value: values[index]! });
        }
        const shown = values.map((value, index) => value.toFixed(cell.measures[index]!.digits));
        print(
          `  run ${run + 1}  ${cell.name.padEnd(24)}  ${arm.name.padEnd(18)}  ${shown.join("  ")}`,
        );
      }
    }
  }
  return samples;
}

function machine() {
  const model = /^model name\s*:\s*(.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1];
  return {
    cpu: model ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    kernel: Deno.osRelease(),
    deno: Deno.version.deno,
  };
}

async function save(folder: string, result: unknown): Promise<string> {
  await Deno.mkdir(folder, { recursive: true });
  const name = `${new Date().toISOString().replace(/[:.]/g, "-")}.json`;
  await Deno.writeTextFile(`${folder}/${name}`, JSON.stringify(result, null, 2) + "\n");
  return name;
}

async function main(): Promise<number> {
  const args = parseArgs(Deno.args, {
    boolean: ["check"],
    string: ["seconds", "runs", "only", "arms", "flags", "results"],
  });
  const seconds = Number(args.seconds ?? 4);
  const runs = Number(args.runs ?? 3);
  const wanted = args.arms?.split(",") ?? null;
  const names = ARM_NAMES.filter((name) =>
    wanted?.some((key: string) => ARM_KEYS[key] === name) ?? true
  );
  const cells = CELLS.filter(({ name }) => name.includes(args.only ?? ""));
  await using opened = new AsyncDisposableStack();
  const tools = opened.use(await Tools.start());
  const arms: Arm[] = [];
  const missing: ArmName[] = [];
  for (const name of names) {
    try {
      const runtimeFlags = args.flags?.split(" ") ?? [];
      arms.push(opened.use(await startArm(name, { runtimeFlags })));
    } catch (error) {
      missing.push(name);
      print(`${name} did not start: ${error instanceof Error ? error.message : error}`);
    }
  }
  const samples = await measure(tools, arms, { cells, runs, seconds });
  print("");
  const measures = cells.flatMap((cell) => cell.measures);
  for (const line of tableLines(samples, { measures, arms: names })) print(line);
  const compared = names.includes(BASELINE) && names.includes(DEFAULT_ARM);
  const verdicts = judgeGoals(samples, compared ? goalsOf(cells) : []);
  print("");
  for (const { goal, value, met } of verdicts) {
    const limit = goal.atLeast !== undefined
      ? `at least ${goal.atLeast}`
      : `at most ${goal.atMost}`;
    print(`${met ? "met   " : "MISSED"}  ${goal.name}: ${value?.toFixed(3) ?? "-"}, ${limit}`);
  }
  const date = new Date().toISOString();
  const result = { date, machine: machine(), seconds, runs, samples, verdicts };
  const file = await save(args.results ?? RESULTS_FOLDER, result);
  print(`\nsaved as ${file}`);
  const failed = missing.length > 0 || verdicts.some(({ met }) => !met);
  return args.check && failed ? 1 : 0;
}

try {
  Deno.exitCode = await main();
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  print(error.message);
  Deno.exitCode = 1;
}

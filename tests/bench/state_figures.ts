// How the mesh's state fares at 10,000 workloads: taken in from a control plane, and asked 100,000 times. Part of
// `deno task bench`; alone: deno run -A tests/bench/state_figures.ts [--check] [--runs N] [--peer PATH] [--native]
import { parseArgs } from "@std/cli/parse-args";
import { DENO, NATIVE } from "./arms.ts";
import { nativeEnvironment } from "./environment.ts";
import { ORIGINAL, type Original, originalAt } from "./namespace_arms.ts";
import { isStale, LoneNamespace, removeNamespaces, requireRoot } from "./namespace_pair.ts";
import { run, ToolError } from "./processes.ts";
import {
  type Goal,
  judgeGoals,
  type Measure,
  type Sample,
  tableLines,
  verdictLine,
} from "./report.ts";
import type { DecisionReport } from "./state_decisions.ts";
import { type IngestOptions, measureIngest, measurePauses } from "./state_ingest.ts";

const DECISIONS = new URL("./state_decisions.ts", import.meta.url).pathname;
const KINDS = ["VIP", "workload", "unknown", "waypoint"];
const DRAWS = [
  "weighted endpoints",
  "failover, nearest zone",
  "failover, other zones",
  "weighted waypoints",
];

const INGEST = "10,000 workloads";
const READY = `${INGEST}: first octet to ready`;
const CPU = `${INGEST}: CPU of that`;
const MEMORY = `${INGEST}: RSS growth each`;
const PAUSE_P99 = `${INGEST}: loop's pauses, p99`;
const PAUSE_MAX = `${INGEST}: loop's pauses, max`;
const NOISE = `${INGEST}: an idle bystander's, max`;
const CPU_ALL = `${INGEST}: CPU since the start`;
const MEMORY_ALL = `${INGEST}: RSS`;
const decision = (kind: string, point: "p50" | "p99") => `decision, ${kind}: ${point}`;
const draws = (what: string) => `draws, ${what}: chi² / limit`;

export const STATE_MEASURES: readonly Measure[] = [
  { name: READY, unit: "ms", digits: 0 },
  { name: CPU, unit: "ms", digits: 0 },
  { name: MEMORY, unit: "KB", digits: 2 },
  { name: PAUSE_P99, unit: "ms", digits: 1 },
  { name: PAUSE_MAX, unit: "ms", digits: 1 },
  { name: NOISE, unit: "ms", digits: 1 },
  { name: CPU_ALL, unit: "ms", digits: 0 },
  { name: MEMORY_ALL, unit: "MB", digits: 0 },
  ...KINDS.flatMap((kind) => [
    { name: decision(kind, "p50"), unit: "us", digits: 2 },
    { name: decision(kind, "p99"), unit: "us", digits: 2 },
  ]),
  ...DRAWS.map((what) => ({ name: draws(what), unit: "", digits: 2 })),
];

/** What issue 5 asks of the default network, whatever it runs beside. */
export const STATE_GOALS: readonly Goal[] = [
  { measure: READY, atMost: 500 },
  { measure: CPU, atMost: 400 },
  { measure: MEMORY, atMost: 6 },
  { measure: PAUSE_MAX, atMost: 20 },
  ...KINDS.map((kind) => ({ measure: decision(kind, "p50"), atMost: 5 })),
  ...DRAWS.map((what) => ({ measure: draws(what), atMost: 1 })),
].map((goal) => ({ ...goal, name: `${DENO}: ${goal.measure}`, arm: DENO, against: null }));

export interface StateFiguresOptions {
  readonly runs: number;
  /** Measured too, in a namespace of its own like ours; null: ours alone, on this machine's loopback. */
  readonly original: Original | null;
  /** Ours on libc and OpenSSL, too. */
  readonly native: boolean;
  readonly runtimeFlags: readonly string[];
  readonly print: (line: string) => void;
}

/** The arms in the order of the table. */
export function stateArms({ original, native }: StateFiguresOptions): string[] {
  return [...original === null ? [] : [ORIGINAL], DENO, ...native ? [NATIVE] : []];
}

/** All figures, `runs` times; each run starts with another arm. */
export async function stateFigures(options: StateFiguresOptions): Promise<Sample[]> {
  const samples: Sample[] = [];
  const arms = stateArms(options);
  for (let at = 0; at < options.runs; at++) {
    for (let turn = 0; turn < arms.length; turn++) {
      const arm = arms[(turn + at) % arms.length]!;
      const found = [...await ingest(arm, options), ...arm === DENO ? await decisions() : []];
      samples.push(...found.map(([measure, value]) => ({ arm, measure, value })));
      options.print(`  run ${at + 1}  state, ${arm.padEnd(12)}  ${describe(found)}`);
    }
  }
  return samples;
}

type Figures = readonly (readonly [measure: string, value: number])[];

function describe(figures: Figures): string {
  return figures.filter(([measure]) => measure.startsWith(INGEST))
    .map(([measure, value]) => `${measure.slice(INGEST.length + 2)} ${value.toFixed(1)}`)
    .join("; ");
}

async function ingest(arm: string, options: StateFiguresOptions): Promise<Figures> {
  await using opened = new AsyncDisposableStack();
  const { original } = options;
  const namespace = original === null ? null : opened.use(await LoneNamespace.create());
  const ingesting: IngestOptions = {
    within: namespace?.within ?? [],
    runtimeFlags: options.runtimeFlags,
    ...arm === ORIGINAL ? { original: original!.path } : {},
    ...arm === NATIVE ? { env: nativeEnvironment({ systemOpenSsl: false }) } : {},
  };
  const figures = await measureIngest(ingesting);
  const found: [string, number][] = [
    [READY, figures.readyMs],
    [CPU, figures.cpuMs],
    [MEMORY, figures.rssPerWorkloadKb],
    [CPU_ALL, figures.cpuAllMs],
    [MEMORY_ALL, figures.rssAllMb],
  ];
  if (arm === ORIGINAL) return found;
  const pauses = await measurePauses(ingesting);
  const { proxy, bystander } = pauses;
  return [...found, [PAUSE_P99, proxy.p99Ms], [PAUSE_MAX, proxy.maxMs], [NOISE, bystander.maxMs]];
}

async function decisions(): Promise<Figures> {
  const text = await run([Deno.execPath(), "run", "--quiet", "-A", DECISIONS], "Deno");
  const report = JSON.parse(text) as DecisionReport;
  return [
    ...Object.entries(report.decisions).flatMap(([kind, { p50Us, p99Us }]) =>
      [[decision(kind, "p50"), p50Us], [decision(kind, "p99"), p99Us]] as const
    ),
    ...Object.entries(report.draws).map(([what, { statistic, limit }]) =>
      [draws(what), statistic / limit] as const
    ),
  ];
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

async function main(): Promise<number> {
  const args = parseArgs(Deno.args, {
    boolean: ["check", "native"],
    string: ["runs", "peer", "flags"],
    unknown: (flag: string) => {
      throw new ToolError(`Unknown flag ${flag}: see the top of tests/bench/state_figures.ts`);
    },
  });
  if (args.peer !== undefined) {
    requireRoot();
    await removeNamespaces(isStale);
  }
  const options: StateFiguresOptions = {
    runs: Number(args.runs ?? 3),
    original: args.peer === undefined ? null : await originalAt(args.peer),
    native: args.native,
    runtimeFlags: args.flags?.split(" ") ?? [],
    print,
  };
  const samples = await stateFigures(options);
  print("");
  const table = { measures: STATE_MEASURES, arms: stateArms(options) };
  for (const line of tableLines(samples, table)) print(line);
  print("");
  const verdicts = judgeGoals(samples, STATE_GOALS);
  for (const verdict of verdicts) print(verdictLine(verdict));
  return args.check && verdicts.some(({ met }) => !met) ? 1 : 0;
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main();
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    print(error.message);
    Deno.exitCode = 1;
  } finally {
    if (Deno.args.some((arg) => arg.startsWith("--peer"))) {
      await removeNamespaces((pid) => pid === Deno.pid);
    }
  }
}

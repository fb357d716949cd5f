// `deno task bench`: our proxies beside each other on loopback, or beside the original across a veth pair, in turn.
//
//   --check          exit 1 when a goal is missed
//   --seconds N      length of each measurement (4)
//   --runs N         how often each is repeated; the table shows medians (3)
//   --only A,B       only measurements whose name holds one of these; `state` is all of state_figures.ts
//   --arms A,B       which chains; on loopback of http2, deno, deno-dialer, native, native-system (deno,native);
//                    with --peer of original, native, native-system, deno, direct (original,native,deno,direct)
//   --peer PATH      a binary of the original, built elsewhere; needs root, for network namespaces
//   --socks          with --peer, enter native by SOCKS5 too
//   --results DIR    where the JSON goes (bench-results/)
//   --flags="…"      flags of the runtime for our processes, as --cpu-prof
import { parseArgs } from "@std/cli/parse-args";
import { LOOPBACK_ARMS, LOOPBACK_DEFAULT, loopbackArm, NATIVE } from "./arms.ts";
import { busiest, describeBusy, processTimes } from "./busiest.ts";
import { type Cell, CELLS, warmUp } from "./cells.ts";
import type { Arm, Chain, Variant } from "./chain.ts";
import { goalsOf, OPENSSL_FOR_GOALS } from "./goals.ts";
import {
  NAMESPACE_ARMS,
  NAMESPACE_DEFAULT,
  namespaceArm,
  ORIGINAL,
  originalAt,
} from "./namespace_arms.ts";
import { isStale, removeNamespaces, requireRoot } from "./namespace_pair.ts";
import { ToolError } from "./processes.ts";
import { judgeGoals, type Sample, tableLines, type Verdict, verdictLine } from "./report.ts";
import { STATE_GOALS, STATE_MEASURES, stateArms, stateFigures } from "./state_figures.ts";
import { Tools } from "./tools.ts";

const BUSIEST_SHOWN = 6;
const RESULTS_FOLDER = new URL("../../bench-results", import.meta.url).pathname;

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** Chains by arm and variant, started when first wanted, kept for the whole run. */
class Chains implements AsyncDisposable {
  readonly #tools: Tools;
  readonly #opened = new AsyncDisposableStack();
  readonly #running = new Map<string, Chain>();

  constructor(tools: Tools) {
    this.#tools = tools;
  }

  get running(): Iterable<Chain> {
    return this.#running.values();
  }

  async get(arm: Arm, variant: Variant): Promise<Chain> {
    const key = JSON.stringify([arm.name, variant]);
    let chain = this.#running.get(key);
    if (chain === undefined) {
      chain = this.#opened.use(await arm.start(variant));
      this.#running.set(key, chain);
      await warmUp(this.#tools, chain, variant);
    }
    return chain;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }
}

interface Plan {
  readonly tools: Tools;
  readonly chains: Chains;
  readonly arms: readonly Arm[];
  readonly cells: readonly Cell[];
  readonly runs: number;
  readonly seconds: number;
}

async function measureOnce(plan: Plan, cell: Cell, arm: Arm): Promise<readonly number[]> {
  const { tools, seconds } = plan;
  await using own = new AsyncDisposableStack();
  const chain = cell.chain === "own"
    ? own.use(await arm.start("pooled"))
    : await plan.chains.get(arm, cell.chain);
  const before = processTimes();
  const startMs = performance.now();
  const values = await cell.run({ tools, arm, chain, seconds });
  const elapsed = (performance.now() - startMs) / 1000;
  const busy = busiest(before, processTimes(), { seconds: elapsed, countMax: BUSIEST_SHOWN });
  const shown = values.map((value, at) =>
    Number.isNaN(value) ? "-" : value.toFixed(cell.measures[at]!.digits)
  );
  print(`    ${arm.name.padEnd(12)}  ${shown.join("  ").padEnd(44)}  ${describe(busy, chain)}`);
  return values;
}

function describe(busy: ReturnType<typeof busiest>, chain: Chain): string {
  return describeBusy(busy.filter(({ pid }) => pid !== Deno.pid), chain.roles);
}

async function measure(plan: Plan): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let run = 0; run < plan.runs; run++) {
    for (const cell of plan.cells) {
      const units = cell.measures.map(({ name, unit }) =>
        `${name.replace(cell.name, "…")} ${unit}`
      );
      print(`  run ${run + 1}  ${cell.name}: ${units.join("; ")}`);
      // Each run starts with another arm, so that none always follows the same one.
      for (let turn = 0; turn < plan.arms.length; turn++) {
        const arm = plan.arms[(turn + run) % plan.arms.length]!;
        const values = await measureOnce(plan, cell, arm).catch((error) => {
          if (!(error instanceof ToolError)) throw error;
          print(`    ${arm.name.padEnd(12)}  failed: ${error.message}`);
          return cell.measures.map(() => NaN); // A goal that lacks its figure is missed.
        });
        for (const [at, { name }] of cell.measures.entries()) {
          const value = values[at]!;
          if (!Number.isNaN(value)) samples.push({ arm: arm.name, measure: name, value });
        }
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

/** The names behind the keys, in the order given. @throws {ToolError} for an unknown one. */
function armNames(
  text: string | undefined,
  keys: Readonly<Record<string, string>>,
  otherwise: readonly string[],
): string[] {
  return (text?.split(",") ?? otherwise).map((key) => {
    const name = keys[key];
    if (name !== undefined) return name;
    throw new ToolError(`--arms ${key} is none of ${Object.keys(keys).join(", ")}`);
  });
}

async function makeArms(
  args: ReturnType<typeof parseFlags>,
  tools: Tools,
  opened: AsyncDisposableStack,
): Promise<Arm[]> {
  const runtimeFlags = args.flags?.split(" ") ?? [];
  if (args.peer === undefined) {
    const names = armNames(args.arms, LOOPBACK_ARMS, LOOPBACK_DEFAULT);
    const servers = opened.use(await tools.serve([]));
    return names.map((name) => loopbackArm(name, { tools, servers, runtimeFlags }));
  }
  const names = armNames(args.arms, NAMESPACE_ARMS, NAMESPACE_DEFAULT);
  requireRoot();
  const original = await originalAt(args.peer);
  await removeNamespaces(isStale);
  const parts = { tools, original, runtimeFlags, socks: args.socks };
  return names.map((name) => namespaceArm(name, parts));
}

function parseFlags(args: readonly string[]) {
  return parseArgs([...args], {
    boolean: ["check", "socks"],
    string: ["seconds", "runs", "only", "arms", "flags", "results", "peer"],
    unknown: (flag: string) => {
      throw new ToolError(`Unknown flag ${flag}: see the top of tests/bench/run.ts`);
    },
  });
}

/** What a part of the bench adds to the result. */
interface Measured {
  readonly samples: readonly Sample[];
  readonly verdicts: readonly Verdict[];
  /** By arm. */
  readonly facts: Readonly<Record<string, string>>;
  /** Something did not start. */
  readonly isIncomplete: boolean;
}

type Flags = ReturnType<typeof parseFlags>;

/** The chains of proxies, measured through and through. */
async function measureChains(
  args: Flags,
  { cells, runs, seconds }: Pick<Plan, "cells" | "runs" | "seconds">,
  opened: AsyncDisposableStack,
): Promise<Measured> {
  const tools = opened.use(await Tools.build());
  const wanted = await makeArms(args, tools, opened);
  const chains = opened.use(new Chains(tools));
  const arms: Arm[] = [];
  const missing: string[] = [];
  let openSsl: string | null = null;
  for (const arm of wanted) {
    try {
      const chain = await chains.get(arm, "pooled");
      print(`${arm.name}: ${chain.facts}`);
      if (arm.name === NATIVE) openSsl = chain.openSsl;
      arms.push(arm);
    } catch (error) {
      missing.push(arm.name);
      print(`${arm.name} did not start: ${error instanceof Error ? error.message : error}`);
    }
  }
  if (arms.length === 0) throw new ToolError("no chain started");
  const samples = await measure({ tools, chains, arms, cells, runs, seconds });
  print("");
  const measures = cells.flatMap((cell) => cell.measures);
  const names = arms.map(({ name }) => name);
  for (const line of tableLines(samples, { measures, arms: names })) print(line);
  const original = args.peer === undefined ? null : ORIGINAL;
  const ran = { arms: names, measures: measures.map(({ name }) => name), openSsl, original };
  const verdicts = judgeGoals(samples, goalsOf(ran));
  print("");
  if (original !== null && verdicts.length === 0) {
    print(`no goals: they are about ${NATIVE} with OpenSSL ${OPENSSL_FOR_GOALS} or newer`);
  }
  const facts = Object.fromEntries([...chains.running].map((chain) => [chain.arm, chain.facts]));
  return { samples, verdicts, facts, isIncomplete: missing.length > 0 };
}

/** The mesh's state, on its own. */
async function measureState(args: Flags, runs: number): Promise<Measured> {
  const original = args.peer === undefined ? null : await originalAt(args.peer);
  const runtimeFlags = args.flags?.split(" ") ?? [];
  const options = { runs, original, native: false, runtimeFlags, print };
  const samples = await stateFigures(options);
  print("");
  const table = { measures: STATE_MEASURES, arms: stateArms(options) };
  for (const line of tableLines(samples, table)) print(line);
  print("");
  const verdicts = judgeGoals(samples, STATE_GOALS);
  return { samples, verdicts, facts: {}, isIncomplete: false };
}

async function main(opened: AsyncDisposableStack): Promise<number> {
  const args = parseFlags(Deno.args);
  const seconds = Number(args.seconds ?? 4);
  const runs = Number(args.runs ?? 3);
  const only: readonly string[] = args.only?.split(",") ?? [""];
  const cells = CELLS.filter(({ name }) => only.some((text) => name.includes(text)));
  const withState = only.some((text) => "state".includes(text));
  const parts: Measured[] = [];
  if (cells.length > 0 || !withState) {
    // Its processes are gone before the next part begins.
    await using own = new AsyncDisposableStack();
    opened.defer(() => own.disposeAsync());
    parts.push(await measureChains(args, { cells, runs, seconds }, own));
  }
  if (withState) parts.push(await measureState(args, runs));
  const samples = parts.flatMap((part) => part.samples);
  const verdicts = parts.flatMap((part) => part.verdicts);
  for (const verdict of verdicts) print(verdictLine(verdict));
  const date = new Date().toISOString();
  const facts = Object.assign({}, ...parts.map((part) => part.facts));
  const result = { date, machine: machine(), facts, seconds, runs, samples, verdicts };
  print(`\nsaved as ${await save(args.results ?? RESULTS_FOLDER, result)}`);
  const failed = parts.some((part) => part.isIncomplete) || verdicts.some(({ met }) => !met);
  return args.check && failed ? 1 : 0;
}

// Whatever ends the run, what it opened is closed: processes, namespaces, folders.
await using opened = new AsyncDisposableStack();
let stopping: Promise<never> | null = null;

async function stop(): Promise<never> {
  try {
    await opened.disposeAsync();
  } finally {
    // A chain that was just being started belongs to nobody yet.
    if (Deno.args.some((arg) => arg.startsWith("--peer"))) {
      await removeNamespaces((pid) => pid === Deno.pid);
    }
    Deno.exit(130);
  }
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.addSignalListener(signal, () => void (stopping ??= stop()));
}
try {
  Deno.exitCode = await main(opened);
} catch (error) {
  await stopping; // What was measured has just been taken away; that it fails then is no news.
  if (!(error instanceof ToolError)) throw error;
  print(error.message);
  Deno.exitCode = 1;
}

// Puts ours and a binary built elsewhere before the same control plane and the same peers, and tells what others see
// differently:
//   deno run -A tests/interop/original_compare.ts --peer PATH [--keep FOLDER] [what…]
// Root is needed: each runs in network namespaces of its own. What is known and meant is counted, not printed.
import { parseArgs } from "@std/cli/parse-args";
import { explanationOf } from "./original_differences.ts";
import { WATCHES } from "./original_watch.ts";

const WATCH = new URL("original_watch.ts", import.meta.url).pathname;
const SHOWN_CHARS = 500;

export interface Difference {
  /** Where, with the names of steps. */
  readonly path: string;
  readonly theirs: unknown;
  readonly ours: unknown;
}

/** Runs a watch in a namespace that has nothing but a loopback interface. */
async function watch(what: string, binary: string | null): Promise<unknown> {
  const script = 'ip link set lo up && exec "$@"';
  const args = [
    Deno.execPath(),
    "run",
    "--quiet",
    "-A",
    WATCH,
    what,
    ...binary === null ? [] : [binary],
  ];
  const { success, stdout, stderr } = await new Deno.Command("unshare", {
    args: ["--net", "--", "sh", "-c", script, "sh", ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`${what}: ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Lists that are told apart by what their items are called. */
const RESOURCES = ["workloads", "services", "policies"];
/** Lists whose order nobody promised. */
const UNORDERED = [
  "met",
  "access",
  "lines",
  "listens",
  "illegalPorts",
  "services",
  "metrics",
  "resolved",
];
/** What differs in each run. */
const PASSING = ["time", "duration", "socks5", "inbound", "nonce", "from"];

/** The same for two runs of one program. */
export function plain(value: unknown, key = ""): unknown {
  if (typeof value === "string") return plainText(value);
  if (Array.isArray(value)) {
    const items = value.map((item) => plain(item));
    if (RESOURCES.includes(key) && items.every(isObject)) return keyed(items);
    if (!UNORDERED.includes(key)) return items;
    return items.sort((a, b) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
  }
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([name]) => !PASSING.includes(name));
  return Object.fromEntries(entries.map(([name, item]) => [name, plain(item, name)]));
}

/** By name; of several with one name, all are there. */
function keyed(items: readonly Record<string, unknown>[]): Record<string, unknown> {
  const byName: Record<string, unknown> = {};
  for (const item of items) {
    let name = String(item["uid"] ?? `${item["namespace"]}/${item["hostname"] ?? item["name"]}`);
    while (name in byName) name += "'";
    byName[name] = item;
  }
  return byName;
}

function plainText(text: string): string {
  return text
    .replace(/\/[\w/.]*original-[\w-]+/g, "FOLDER")
    .replace(/[0-9a-f]{32}-[0-9a-f]{16}/g, "TRACE")
    // Ports that the kernel chose.
    .replace(/(:|\]:)(?!1[56]0\d\d\b)\d{5}\b/g, "$1PORT")
    // The source port of a PROXY header.
    .replace(/(0a2111.{4}.{16}).{4}/, "$1PORT")
    .replace(/(0a2121.{4}.{64}).{4}/, "$1PORT")
    .replace(/date: [^\r]*\r\n/, "");
}

/** Items of lists are named by what they say they are. */
export function* differences(theirs: unknown, ours: unknown, path = ""): Generator<Difference> {
  if (Array.isArray(theirs) && Array.isArray(ours) && theirs.length === ours.length) {
    for (const [index, item] of theirs.entries()) {
      const name = item?.what ?? item?.call?.authority ?? item?.call ?? index;
      yield* differences(item, ours[index], `${path}[${name}]`);
    }
  } else if (isObject(theirs) && isObject(ours)) {
    for (const name of new Set([...Object.keys(theirs), ...Object.keys(ours)])) {
      yield* differences(theirs[name], ours[name], `${path}.${name}`);
    }
  } else if (JSON.stringify(theirs) !== JSON.stringify(ours)) yield { path, theirs, ours };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

if (import.meta.main) {
  const { peer, keep, _: asked } = parseArgs(Deno.args, { string: ["peer", "keep"] });
  if (peer === undefined) throw new Error("--peer PATH names the binary to compare with");
  const print = (text: string) => Deno.stdout.write(new TextEncoder().encode(`${text}\n`));
  let unexplained = 0;
  for (const what of asked.length > 0 ? asked.map(String) : Object.keys(WATCHES)) {
    const seen = [await watch(what, peer), await watch(what, null)];
    if (keep !== undefined) {
      await Deno.writeTextFile(`${keep}/${what}-theirs.json`, JSON.stringify(seen[0], null, 1));
      await Deno.writeTextFile(`${keep}/${what}-ours.json`, JSON.stringify(seen[1], null, 1));
    }
    const known = new Map<string, number>();
    await print(`# ${what}`);
    for (const difference of differences(plain(seen[0]), plain(seen[1]))) {
      const reason = explanationOf(what, difference);
      if (reason !== null) {
        known.set(reason, (known.get(reason) ?? 0) + 1);
        continue;
      }
      unexplained++;
      const shown = (value: unknown) => (JSON.stringify(value) ?? "nothing").slice(0, SHOWN_CHARS);
      await print(
        `${difference.path}\n  theirs ${shown(difference.theirs)}\n  ours   ${
          shown(difference.ours)
        }`,
      );
    }
    for (const [reason, count] of known) await print(`  (${count} × ${reason})`);
  }
  await print(`${unexplained} differences that nobody explained`);
  Deno.exit(unexplained === 0 ? 0 : 1);
}

// `deno task h2spec`: h2spec in strict mode against our codec, over cleartext and over TLS.
//
// Arguments are passed on to h2spec (sections such as `http2/5.1`). h2spec is taken from PATH or from the user's cache
// folder, and built there by Go when it is in neither.
// deno-lint-ignore-file no-console -- a program whose output is its purpose
import { startResponder } from "./support/h2_responder.ts";
import { type H2specException, judge, parseReport } from "./support/h2spec_report.ts";
import { MeshCa } from "./support/mesh_ca.ts";

const H2SPEC_MODULE = "github.com/summerwind/h2spec/cmd/h2spec@latest";

/** Cases of h2spec 2.x in strict mode; fewer means that something was left out. */
const CASES_MIN = 146;

/** Cases that may fail. Each needs the sentence of RFC 9113 that allows what we do instead. */
const PRODUCT_EXCEPTIONS: readonly H2specException[] = [
  {
    name: "http2/4.2: Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
    reason:
      'RFC 9113 §4.2: "The size of a frame payload is limited by the maximum size that a receiver ' +
      'advertises in the SETTINGS_MAX_FRAME_SIZE setting." h2spec sends 20,000 octets whatever was advertised; ' +
      "we advertise 1 MiB. The arm with frames of 16,384 passes it.",
  },
];

interface Arm {
  readonly name: string;
  readonly port: number;
  readonly args: readonly string[];
  readonly exceptions: readonly H2specException[];
}

/** The path of h2spec, built if need be; null, after saying what is needed, if that failed. */
async function findH2spec(): Promise<string | null> {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? "/tmp"}/.cache`;
  const folder = `${cache}/ztunnel-deno/bin`;
  for (const candidate of ["h2spec", `${folder}/h2spec`]) {
    if (await succeeds(candidate, ["--version"])) return candidate;
  }
  console.log(`h2spec is not here; building ${H2SPEC_MODULE} into ${folder}`);
  await Deno.mkdir(folder, { recursive: true });
  if (await succeeds("go", ["install", H2SPEC_MODULE], { GOBIN: folder })) {
    return `${folder}/h2spec`;
  }
  console.error(
    "Cannot run h2spec: it is not on PATH and could not be built. Install Go 1.21 or later, or put h2spec " +
      "(a release of github.com/summerwind/h2spec) on PATH, and run again.",
  );
  return null;
}

async function succeeds(
  program: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<boolean> {
  try {
    const { success, stderr } = await new Deno.Command(program, {
      args: [...args],
      env,
      stdout: "null",
      stderr: "piped",
    }).output();
    if (!success) console.error(new TextDecoder().decode(stderr));
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Runs h2spec once and prints its verdict; the number of cases that count against us. */
async function runArm(
  h2spec: string,
  arm: Arm,
  extra: readonly string[],
): Promise<{ passed: number; failed: number }> {
  const report = await Deno.makeTempFile({ prefix: "h2spec-", suffix: ".xml" });
  try {
    const { stdout, stderr } = await new Deno.Command(h2spec, {
      args: ["--strict", "-p", String(arm.port), "-j", report, ...arm.args, ...extra],
    }).output();
    const cases = parseReport(await Deno.readTextFile(report));
    const casesMin = extra.length === 0 ? CASES_MIN : 1;
    if (cases.length < casesMin) {
      console.error(new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
      console.error(`${arm.name}: h2spec reported ${cases.length} cases, expected ${casesMin}`);
      return { passed: 0, failed: 1 };
    }
    const verdict = judge(cases, arm.exceptions);
    console.log(`${arm.name}: ${verdict.passed} passed, ${verdict.failed.length} failed`);
    for (const { name, outcome, detail } of verdict.failed) {
      console.log(`  ${outcome}: ${name}\n      ${detail.replaceAll("\n", "\n      ")}`);
    }
    for (const { name } of verdict.excepted) {
      const { reason } = arm.exceptions.find((exception) => exception.name === name)!;
      console.log(`  excepted: ${name}\n      ${reason}`);
    }
    const stale = extra.length === 0 ? verdict.stale : [];
    for (const { name } of stale) {
      console.log(`  out of date: ${name} is an exception but passes, or does not exist`);
    }
    return { passed: verdict.passed, failed: verdict.failed.length + stale.length };
  } finally {
    await Deno.remove(report);
  }
}

async function main(extra: readonly string[]): Promise<number> {
  const h2spec = await findH2spec();
  if (h2spec === null) return 1;
  const ca = await MeshCa.create();
  const leaf = await ca.issue({ uris: ["spiffe://cluster.local/ns/test/sa/responder"] });
  await using cleartext = await startResponder(null);
  await using tls = await startResponder(leaf);
  await using small = await startResponder(null, { frameBytesMax: 16_384 });
  const exceptions = PRODUCT_EXCEPTIONS;
  const arms: readonly Arm[] = [
    { name: "cleartext", port: cleartext.port, args: [], exceptions },
    { name: "TLS", port: tls.port, args: ["-t", "-k"], exceptions },
    { name: "cleartext, frames of 16,384", port: small.port, args: [], exceptions: [] },
  ];
  let passed = 0;
  let failed = 0;
  for (const arm of arms) {
    const result = await runArm(h2spec, arm, extra);
    passed += result.passed;
    failed += result.failed;
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

Deno.exit(await main(Deno.args));

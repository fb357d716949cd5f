// Whether this machine lets tests make network namespaces; where it does not, tests fail with a sentence.

/** Set to `skip`, tests here are named as ignored and not run; nothing else skips them. */
const VARIABLE = "NAMESPACE_TESTS";
const TOOLS = [
  "ip",
  "iptables-restore",
  "ip6tables-restore",
  "nsenter",
  "lsns",
  "unshare",
  "setpriv",
];
const HOW_TO =
  `run as root with Debian's iproute2, iptables, procps, python3 and util-linux, or set ${VARIABLE}=skip`;

export const SKIPPED = Deno.env.get(VARIABLE) === "skip";

/** Like `Deno.test`; ignored, and said so by name, with `NAMESPACE_TESTS=skip`. */
export function namespaceTest(
  name: string,
  body: (test: Deno.TestContext) => Promise<void>,
): void {
  if (SKIPPED) Deno.stderr.writeSync(new TextEncoder().encode(`${VARIABLE}=skip: ${name}\n`));
  Deno.test({ name, ignore: SKIPPED, fn: body });
}

/** @throws {Error} One sentence that says what is missing and how to get it. */
export async function requireNamespaces(): Promise<void> {
  if (Deno.uid() !== 0) {
    throw new Error(`Cannot make network namespaces: the tests do not run as root; ${HOW_TO}`);
  }
  const missing: string[] = [];
  for (const tool of [...TOOLS, PYTHON]) {
    try {
      await new Deno.Command(tool, { args: ["--version"], stdout: "null", stderr: "null" })
        .output();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      missing.push(tool);
    }
  }
  if (missing.length > 0) {
    throw new Error(`Cannot make network namespaces: no ${missing.join(", ")} here; ${HOW_TO}`);
  }
  const tried = await new Deno.Command("unshare", { args: ["--net", "true"], stderr: "piped" })
    .output();
  if (!tried.success) {
    const said = new TextDecoder().decode(tried.stderr).trim();
    throw new Error(`Cannot make network namespaces: ${said}; ${HOW_TO}`);
  }
}

/** The distribution's: nothing but its standard library is used. */
export const PYTHON = "python3";

/** What `look` finds, asked until it finds something. */
export async function eventually<Found>(
  look: () => Found | undefined | null | Promise<Found | undefined | null>,
): Promise<Found> {
  const deadline = performance.now() + 5_000;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== null) return found;
    if (performance.now() > deadline) throw new Error("Waited 5 s in vain");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

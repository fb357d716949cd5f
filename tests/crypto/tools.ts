// Programs that these tests need and the repository does not bring.

/** Debian's package of each program. */
const PACKAGES: Readonly<Record<string, string>> = {
  cargo: "cargo",
  gcc: "gcc",
  make: "make",
  openssl: "openssl",
  perl: "perl",
  sslscan: "sslscan",
  testssl: "testssl.sh",
};

/** The path of a program. Missing is a failure that names the package, never a skip. */
export async function findTool(name: string): Promise<string> {
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  for (const folder of folders) {
    const path = `${folder}/${name}`;
    try {
      if ((await Deno.stat(path)).isFile) return path;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new Error(`This test needs ${name}: install Debian's ${PACKAGES[name] ?? name}`);
}

/** Runs a program to its end and gives what it printed on stdout; a failure is thrown with the end of its output. */
export async function run(program: string, args: readonly string[], cwd: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  if (success) return out!;
  throw new Error(`${program} ${args.join(" ")} failed: ${(out! + err!).slice(-2_000)}`);
}

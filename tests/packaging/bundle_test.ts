// `deno task bundle`: one file that runs without the sources, under the same permissions.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { flagsOf, PERMISSION_SETS, Program } from "../support/command_line.ts";
import { connectSocks5, readExactly, writeAll } from "../support/socks5.ts";

const ROOT = new URL("../../", import.meta.url);
const READY_WITHIN_MS = 15_000;
const ENDED_WITHIN_MS = 10_000;

async function bundle(folder: string): Promise<string> {
  const file = `${folder}/ztunnel.js`;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--quiet", "--output", file, "mod.ts"],
    cwd: ROOT.pathname,
  }).output();
  assertEquals([success, new TextDecoder().decode(stderr)], [true, ""]);
  return file;
}

Deno.test("the bundle runs alone: version, then local mode with bytes through it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = await bundle(folder);
    await using version = new Program({ flags: [], program: file, args: ["version"] });
    assertEquals(await version.ended(ENDED_WITHIN_MS), 0);
    assertMatch(version.stdout, /^version\.BuildInfo\{Version:"/);

    await using program = new Program({
      flags: ["--no-config", ...flagsOf(PERMISSION_SETS["start"]!)],
      program: file,
      args: ["local"],
    });
    await program.printed("Ctrl-C ends it.", READY_WITHIN_MS);
    const connection = await connectSocks5("127.0.0.1", { ip: "127.0.10.3", port: 80 });
    await writeAll(connection, new TextEncoder().encode("through the bundle"));
    assertEquals(new TextDecoder().decode(await readExactly(connection, 18)), "through the bundle");
    connection.close();
    program.signal("SIGTERM");
    assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
    assertStringIncludes(program.stdout, 'direction="inbound"');
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

// `deno task bundle`: one file that runs without the sources, under the same permissions.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { flagsOf, PERMISSION_SETS, Program } from "../support/command_line.ts";
import { connectSocks5, readExactly, writeAll } from "../support/socks5.ts";

const ROOT = new URL("../../", import.meta.url);
const READY_WITHIN_MS = 15_000;
const ENDED_WITHIN_MS = 10_000;

const FILES = {
  "ztunnel.js": "mod.ts",
  "data_plane_worker.js": "src/isolate/data_plane_worker.ts",
} as const;

/** As `deno task bundle` does, into a folder of the test; gives the program's path. */
async function bundle(folder: string): Promise<string> {
  for (const [file, source] of Object.entries(FILES)) {
    assertStringIncludes(config.tasks.bundle.command, `--output dist/${file} ${source}`);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["bundle", "--quiet", "--output", `${folder}/${file}`, source],
      cwd: ROOT.pathname,
    }).output();
    assertEquals([success, new TextDecoder().decode(stderr)], [true, ""]);
  }
  return `${folder}/ztunnel.js`;
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

Deno.test("the bundle's worker runs the native network, and may read nothing but itself", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = await bundle(folder);
    const native = {
      ...PERMISSION_SETS["proxy-native"]!,
      read: [`${folder}/data_plane_worker.js`],
    };
    await using program = new Program({
      flags: ["--no-config", "--unstable-worker-options", ...flagsOf(native)],
      program: file,
      args: ["proxy"],
      env: {
        IO_PROVIDER: "native",
        PROXY_MODE: "dedicated",
        PROXY_WORKLOAD_INFO: "default/client/client",
        LOCAL_XDS: "{}",
        XDS_ADDRESS: "",
        FAKE_CA: "true",
        IPV6_ENABLED: "false",
        BIND_ADDRESS: "127.0.0.9",
      },
    });
    await program.printed("marking server ready", READY_WITHIN_MS);
    for (const port of [15001, 15006, 15008]) {
      assertStringIncludes(program.stdout, `listener established\taddress=127.0.0.9:${port} `);
    }
    program.signal("SIGTERM");
    assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
    assertEquals(program.stderr, "");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

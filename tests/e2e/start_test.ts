// `task start` as a newcomer meets it: what it prints, what curl sees, how it ends.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { SAME_SIGNAL_MS } from "../../src/shutdown.ts";
import { flagsOf, PERMISSION_SETS, Program } from "../support/command_line.ts";
import { connectSocks5, readExactly, writeAll } from "../support/socks5.ts";

const READY_WITHIN_MS = 15_000;
const ENDED_WITHIN_MS = 10_000;
const FLAGS = flagsOf(PERMISSION_SETS["start"]!);
const CLIENT = 'src.identity="spiffe://cluster.local/ns/default/sa/client"';

async function start(env: Readonly<Record<string, string>> = {}): Promise<Program> {
  const program = new Program({ flags: FLAGS, args: ["local"], env });
  await program.printed("Ctrl-C ends it.", READY_WITHIN_MS);
  return program;
}

/** SOCKS5 by name, then an HTTP request; everything that comes back until the end or a reset. */
async function get(hostname: string): Promise<string> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: 15080 });
  try {
    await writeAll(connection, new Uint8Array([5, 1, 0]));
    await readExactly(connection, 2);
    const name = new TextEncoder().encode(hostname);
    await writeAll(connection, new Uint8Array([5, 1, 0, 3, name.length, ...name, 0, 80]));
    const reply = await readExactly(connection, 10);
    if (reply[1] !== 0) return `SOCKS5 ${reply[1]}`;
    await writeAll(connection, new TextEncoder().encode("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
    let text = "";
    const buffer = new Uint8Array(4096);
    try {
      for (;;) {
        const count = await connection.read(buffer);
        if (count === null) return text;
        text += new TextDecoder().decode(buffer.subarray(0, count));
      }
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionReset) return `${text}(reset)`;
      throw error;
    }
  } finally {
    connection.close();
  }
}

Deno.test("task start answers, refuses by policy, and logs both hops with both identities", async () => {
  await using program = await start();
  const ready = await fetch("http://127.0.0.1:15021/healthz/ready");
  assertEquals([ready.status, await ready.text()], [200, "ready\n"]);
  for (const service of ["web", "orders", "legacy"]) {
    const line = `curl --socks5-hostname 127.0.0.1:15080 http://${service}.shop.svc.cluster.local/`;
    assertStringIncludes(program.stdout, line);
  }

  const established = program.stdout.split("\n")
    .filter((line) => line.includes("\tlistener established\t") && line.includes("transparent="))
    .map((line) => line.split("\t").slice(1).join(" "));
  const hbone = (ip: string) =>
    `info proxy::inbound listener established address=${ip}:15008 component="inbound" transparent=false`;
  assertEquals(established.sort(), [
    hbone("127.0.0.2"),
    hbone("127.0.0.3"),
    hbone("127.0.0.4"),
    'info proxy::socks5 listener established address=127.0.0.1:15080 component="socks5" transparent=false',
  ]);

  assertStringIncludes(await get("web.shop.svc.cluster.local"), "hello from shop/web");
  for (const direction of ["outbound", "inbound"]) {
    await program.printed(`direction="${direction}" bytes_sent=`, READY_WITHIN_MS);
  }
  const isCall = (line: string) => line.includes("dst.hbone_addr=127.0.0.3:8080");
  const lines = program.stdout.split("\n").filter(isCall);
  assertEquals(lines.length, 2);
  for (const line of lines) {
    assertMatch(line, /^\S+Z\tinfo\taccess\tconnection complete\tsrc\.addr=/);
    assertStringIncludes(line, CLIENT);
    assertStringIncludes(line, 'dst.identity="spiffe://cluster.local/ns/shop/sa/web"');
  }
  assertEquals(lines.map((line) => /direction="(\w+)"/.exec(line)?.[1]).sort(), [
    "inbound",
    "outbound",
  ]);

  assertMatch(await get("orders.shop.svc.cluster.local"), /^(\(reset\))?$/);
  await program.printed('error="http status: 401 Unauthorized"', READY_WITHIN_MS);
  await program.printed(
    'error="connection closed due to policy rejection: allow policies exist, but none allowed"',
    READY_WITHIN_MS,
  );
  assertStringIncludes(await get("legacy.shop.svc.cluster.local"), "hello from shop/legacy");
  assertEquals(await get("nobody.shop.svc.cluster.local"), "SOCKS5 4");

  program.signal("SIGINT");
  assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
  assertEquals(program.stderr, "");
});

Deno.test("task start takes the two SIGINTs of one Ctrl-C for one, and drains", async () => {
  await using program = await start();
  const held = await connectSocks5("127.0.0.1", { ip: "127.0.10.3", port: 80 });
  await writeAll(held, new TextEncoder().encode("echo"));
  assertEquals(new TextDecoder().decode(await readExactly(held, 4)), "echo");
  program.signal("SIGINT");
  program.signal("SIGINT");
  await program.printed("received signal SIGINT, starting shutdown", ENDED_WITHIN_MS);
  await new Promise((resolve) => setTimeout(resolve, SAME_SIGNAL_MS / 2));
  // Still draining: the open connection works.
  await writeAll(held, new TextEncoder().encode("more"));
  assertEquals(new TextDecoder().decode(await readExactly(held, 4)), "more");
  held.close();
  assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
  assert(!program.stdout.includes("Double Ctrl+C"));
});

Deno.test("task start ends at once at a later second SIGINT", async () => {
  await using program = await start({ CONNECTION_TERMINATION_DEADLINE: "60s" });
  const held = await connectSocks5("127.0.0.1", { ip: "127.0.10.3", port: 80 });
  await writeAll(held, new TextEncoder().encode("echo"));
  await readExactly(held, 4);
  program.signal("SIGINT");
  await program.printed("starting shutdown", ENDED_WITHIN_MS);
  await new Promise((resolve) => setTimeout(resolve, SAME_SIGNAL_MS + 100));
  program.signal("SIGINT");
  assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
  assertStringIncludes(program.stdout, "Double Ctrl+C, exit immediately");
  held.close();
});

Deno.test("task start cuts what is left at the drain deadline, and says so", async () => {
  await using program = await start({ CONNECTION_TERMINATION_DEADLINE: "1s" });
  const held = await connectSocks5("127.0.0.1", { ip: "127.0.10.3", port: 80 });
  await writeAll(held, new TextEncoder().encode("echo"));
  await readExactly(held, 4);
  const begin = performance.now();
  program.signal("SIGTERM");
  assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
  const tookMs = performance.now() - begin;
  assert(tookMs >= 1_000 && tookMs < 5_000, `took ${tookMs} ms`);
  assertStringIncludes(program.stdout, "drain duration expired with pending connections");
  assertStringIncludes(program.stdout, 'error="connection closed due to connection drain"');
  held.close();
});

Deno.test("task start refuses connections over its descriptors, keeps the others, and says so", async () => {
  await using program = await start({ DESCRIPTORS_MAX: "128" });
  const connect = () => connectSocks5("127.0.0.1", { ip: "127.0.10.5", port: 80 });
  const held: Deno.TcpConn[] = [];
  let refused = 0;
  for (let count = 0; count < 80; count++) {
    try {
      held.push(await connect());
    } catch {
      refused++; // Reset, or ended before the answer.
    }
  }
  assert(refused > 0 && held.length >= 10, `${held.length} served, ${refused} refused`);
  await program.printed("refusing connections: as many are open as descriptors allow", 5_000);
  const echo = async (connection: Deno.TcpConn) => {
    await writeAll(connection, new TextEncoder().encode("echo"));
    return new TextDecoder().decode(await readExactly(connection, 4));
  };
  assertEquals(await echo(held[0]!), "echo");
  for (const connection of held) connection.close();
  for (let attempt = 0;; attempt++) {
    try {
      const again = await connect();
      assertEquals(await echo(again), "echo");
      again.close();
      break;
    } catch (error) {
      if (attempt === 50) throw error; // Five seconds for the closed ones to be noticed.
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  program.signal("SIGTERM");
  assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
});

Deno.test.each([
  {
    name: "an unknown command",
    args: ["bogus"],
    env: {},
    stderr: /^unknown command: bogus\n$/,
  },
  {
    name: "an argument too many",
    args: ["local", "--fast"],
    env: {},
    stderr: /^Error: local takes no arguments, got --fast\n$/,
  },
  {
    name: "a bad variable",
    args: ["local"],
    env: { ENABLE_PROXY: "1" },
    stderr:
      /^Error: invalid env var ENABLE_PROXY=1 \(provided string was not `true` or `false`\)\n$/,
  },
  {
    name: "a bad log filter",
    args: ["local"],
    env: { RUST_LOG: "info,a=b=c" },
    stderr: /^Error: [^\n]+\n$/,
  },
])("the program refuses $name in one line, exit code 1", async ({ args, env, stderr }) => {
  await using program = new Program({ flags: FLAGS, args, env: env as Record<string, string> });
  assertEquals(await program.ended(ENDED_WITHIN_MS), 1);
  assertMatch(program.stderr, stderr);
});

Deno.test("the program refuses an occupied port in one line, exit code 1", async () => {
  using _occupied = Deno.listen({ hostname: "127.0.0.3", port: 15008 });
  await using program = new Program({ flags: FLAGS, args: ["local"] });
  assertEquals(await program.ended(ENDED_WITHIN_MS), 1);
  assertEquals(
    program.stderr,
    "Error: failed to bind to address 127.0.0.3:15008: Address already in use (os error 98)\n",
  );
});

Deno.test.each([
  { name: "broken YAML", text: "workloads: [", says: /mesh\.yaml, line 1: / },
  {
    name: "an unknown key",
    text: "workloads: []\nfoo: 1\n",
    says: /mesh\.yaml, line 2: .*"foo", known are workloads, services, policies/,
  },
  {
    name: "a uid given twice",
    text: [1, 2].map(() => "- {uid: a, namespace: n, workloadIps: [], services: {}}").join("\n")
      .replace(/^/, "workloads:\n"),
    says: /mesh\.yaml, line 3: .*repeats "a", which line 2 has/,
  },
])(
  "the program refuses a mesh file with $name: file, line, what was expected",
  async ({ text, says }) => {
    const folder = await Deno.makeTempDir();
    try {
      const file = `${folder}/mesh.yaml`;
      await Deno.writeTextFile(file, text);
      await using program = new Program({
        flags: [
          ...FLAGS.filter((flag) => !flag.startsWith("--allow-read")),
          `--allow-read=${file}`,
        ],
        args: ["local"],
        env: { LOCAL_XDS_PATH: file },
      });
      assertEquals(await program.ended(ENDED_WITHIN_MS), 1);
      assertMatch(program.stderr, says);
      assertEquals(program.stderr.trim().split("\n").length, 1);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("version prints one line that support scripts know", async () => {
  await using program = new Program({ flags: [], args: ["version"] });
  assertEquals(await program.ended(ENDED_WITHIN_MS), 0);
  assertMatch(program.stdout, /^version\.BuildInfo\{Version:"[^\n]+"\}\n$/);
});

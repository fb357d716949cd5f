// Each grant of deno.json is needed, and its absence is one clear sentence, never a stack trace.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import {
  flagsOf,
  type Grant,
  grantsOf,
  PERMISSION_SETS,
  Program,
} from "../support/command_line.ts";

const REFUSED_WITHIN_MS = 15_000;

interface Case {
  readonly name: string;
  readonly set: string;
  readonly program?: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly grant: Grant;
}

/** How each set is used: what a missing grant is noticed by. */
const USES: readonly Omit<Case, "name" | "grant">[] = [
  { set: "start", args: ["local"], env: {} },
  { set: "demo", program: "examples/demo.ts", args: [], env: {} },
  {
    set: "demo-proxy",
    args: ["proxy"],
    env: {
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: "default/client/client",
      XDS_ADDRESS: "",
      FAKE_CA: "true",
      FAKE_CA_DIR: ".demo/ca",
      LOCAL_XDS_PATH: "examples/demo.yaml",
      IPV6_ENABLED: "false",
      BIND_ADDRESS: "127.0.0.1",
      UNSTABLE_ENABLE_SOCKS5: "true",
    },
  },
];

/** Variables are asked for all at once, below. */
const CASES: Case[] = USES.flatMap((use) =>
  grantsOf(PERMISSION_SETS[use.set]!).filter(({ kind }) => kind !== "env").map((grant) => ({
    ...use,
    name: `${use.set} without ${grant.kind} ${grant.what}`,
    grant,
  }))
);

Deno.test("deno.json grants start neither ffi, run, write nor sys", () => {
  assertEquals(Object.keys(PERMISSION_SETS["start"]!).sort(), ["env", "net", "read"]);
  assertStringIncludes(config.tasks.start.command, "--no-prompt -P=start ");
  assertStringIncludes(config.tasks.demo.command, "--no-prompt -P=demo ");
});

Deno.test("no permission set binds a wildcard but those of proxy, whose mode needs it", () => {
  for (const [name, set] of Object.entries(PERMISSION_SETS)) {
    const wild = grantsOf(set).filter(({ kind, what }) =>
      kind === "net" && /^(0\.0\.0\.0|\[::\])/.test(what)
    );
    assertEquals(wild.length > 0, name === "proxy" || name === "proxy-native", name);
  }
});

Deno.test("only the native network has ffi, and it connects to no pod", () => {
  for (const [name, set] of Object.entries(PERMISSION_SETS)) {
    assertEquals("ffi" in set, name === "proxy-native", name);
  }
  const ports = grantsOf(PERMISSION_SETS["proxy-native"]!)
    .filter(({ kind }) => kind === "net").map(({ what }) => what.slice(what.lastIndexOf(":") + 1));
  assertEquals([...new Set(ports)].sort(), ["15000", "15020", "15021"]);
});

Deno.test.each(CASES)("$name: one sentence, exit code 1", async ({ set, grant, ...use }) => {
  await using program = new Program({ flags: flagsOf(PERMISSION_SETS[set]!, grant), ...use });
  assertEquals(await program.ended(REFUSED_WITHIN_MS), 1);
  const lines = program.stderr.trim().split("\n");
  assertMatch(lines[0]!, /^Error: Missing permission --allow-/);
  for (const line of lines) {
    assertMatch(line, /Missing permission --allow-[a-z]+=\S+: needed to \S/);
    assertStringIncludes(line, `--allow-${grant.kind}=`);
  }
  // A range stands for several addresses; everything else is named as it is granted.
  if (!grant.what.includes("/8")) {
    assert(lines.some((line) => line.includes(`--allow-${grant.kind}=${grant.what}: `)));
  }
});

Deno.test.each(USES.filter(({ set }) => "env" in PERMISSION_SETS[set]!))(
  "$set without any env: a sentence for each variable that it grants, and for no other",
  async ({ set, ...use }) => {
    const { env: granted, ...others } = PERMISSION_SETS[set]!;
    await using program = new Program({ flags: flagsOf(others), ...use });
    assertEquals(await program.ended(REFUSED_WITHIN_MS), 1);
    const lines = program.stderr.trim().replace(/^Error: /, "").split("\n");
    const named = lines.map((line) =>
      /^Missing permission --allow-env=(\w+): needed to \S/.exec(line)?.[1] ?? line
    );
    assertEquals(named.sort(), [...granted as string[]].sort());
  },
);

Deno.test("one variable less is one sentence", async () => {
  const grant = { kind: "env", what: "RUST_LOG" };
  await using program = new Program({
    flags: flagsOf(PERMISSION_SETS["start"]!, grant),
    args: ["local"],
  });
  assertEquals(await program.ended(REFUSED_WITHIN_MS), 1);
  assertEquals(
    program.stderr,
    "Error: Missing permission --allow-env=RUST_LOG: needed to know what is logged\n",
  );
});

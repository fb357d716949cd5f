// What the proxy may and may not do, and what it says and does then: marks, transparency, capabilities, seccomp.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  INHERITED_DENO,
  INHERITED_UNPRIVILEGED,
  POD_ENV,
  REDIRECT_NATIVE,
  REDIRECT_UNPRIVILEGED,
  startCapturedMesh,
  transparency,
  WITHOUT_CAPABILITY,
  writeMesh,
} from "./captured_mesh.ts";
import { flagsOf, PERMISSION_SETS } from "../support/command_line.ts";
import type { ProxyProcess } from "../support/proxy_process.ts";
import { eventually, namespaceTest, PYTHON } from "./environment.ts";
import type { Pod } from "./pod.ts";
import { NetworkRig } from "./rig.ts";
import { counted } from "./rules.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const REFUSE_CALL = new URL("refuse_call.py", import.meta.url).pathname;
const IPV6_PODS = ["[fd00:77::1]", "[fd00:77::2]", "[fd00:77::3]"];
const START_WITHIN_MS = 20_000;

for (
  const { name, env, launcher, says } of [
    {
      name: "PACKET_MARK without the capability",
      env: { PACKET_MARK: "1337" },
      launcher: [...WITHOUT_CAPABILITY, "--"],
      says: ["PACKET_MARK", "CAP_NET_ADMIN"],
    },
    {
      name: "PACKET_MARK where seccomp refuses SO_MARK",
      env: { PACKET_MARK: "1337" },
      launcher: [PYTHON, REFUSE_CALL, "setsockopt", "1", "36", "--"],
      says: ["PACKET_MARK"],
    },
    {
      name: "ENABLE_ORIG_SRC=true without the capability",
      env: { ENABLE_ORIG_SRC: "true" },
      launcher: [...WITHOUT_CAPABILITY, "--"],
      says: ["transparent"],
    },
    {
      name: "ENABLE_ORIG_SRC=true where seccomp refuses IP_TRANSPARENT",
      env: { ENABLE_ORIG_SRC: "true" },
      launcher: [PYTHON, REFUSE_CALL, "setsockopt", "0", "19", "--"],
      says: ["transparent"],
    },
  ]
) {
  namespaceTest(`the proxy does not start with ${name}, and says why in one sentence`, async () => {
    await using rig = await NetworkRig.create(["client"]);
    const pod = rig.pod("client");
    const folder = await Deno.makeTempDir({ prefix: "namespaces-" });
    try {
      const { code, stdout, stderr } = await startInVain({
        launcher: [...pod.enter, ...launcher],
        env: {
          IO_PROVIDER: "native",
          PROXY_WORKLOAD_INFO: "test/client/client",
          LOCAL_XDS_PATH: await writeMesh(folder, [pod]),
          FAKE_CA_DIR: folder,
          ...env,
        },
      });
      assertEquals(code, 1, stdout + stderr);
      const lines = stderr.trim().split("\n");
      assertEquals(lines.length, 1, stderr);
      for (const text of says) assertStringIncludes(lines[0]!, text);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

namespaceTest("applications see the proxy's address with ENABLE_ORIG_SRC=false", async () => {
  await using mesh = await startCapturedMesh(REDIRECT_NATIVE, {
    env: { ENABLE_ORIG_SRC: "false" },
  });
  const { client, plain, server, serverProxy } = mesh;
  for (const family of [4, 6] as const) {
    const to = { ip: server.ip(family), port: await server.serve("echo") };
    for (const from of [client, plain]) {
      const call = await from.exchange(to, { bytes: 100_000 });
      assertEquals([call.error, call.receivedSha256], [null, call.sentSha256]);
    }
    const peers = (await server.served(to.port)).map(({ peer }) => peer.replace(/:\d+$/, ""));
    const own = family === 4 ? server.ipv4 : `[${server.ipv6}]`;
    assertEquals(peers, [own, own]);
  }
  assertEquals(transparency(serverProxy), [false, false, false]);
});

for (
  const { name, capture, env, says } of [
    {
      name: "that cannot be transparent says so",
      capture: REDIRECT_UNPRIVILEGED,
      env: {},
      says: 1,
    },
    {
      name: "that need not be transparent does not complain",
      capture: REDIRECT_UNPRIVILEGED,
      env: { ENABLE_ORIG_SRC: "false" },
      says: 0,
    },
    { name: "that is transparent does not complain", capture: REDIRECT_NATIVE, env: {}, says: 0 },
  ]
) {
  namespaceTest(`a proxy ${name}`, async () => {
    await using mesh = await startCapturedMesh(capture, { env });
    const text = "applications see the proxy's address instead of their callers'";
    const lines = mesh.serverProxy.lines.filter((line) => line.includes(text));
    assertEquals(lines.length, says);
    for (const line of lines) assertStringIncludes(line, '"level":"warn"');
  });
}

namespaceTest("a proxy without capabilities warns that it cannot spoof, and works", async () => {
  await using mesh = await startCapturedMesh(INHERITED_UNPRIVILEGED);
  const { client, plain, server, serverProxy } = mesh;
  for (const family of [4, 6] as const) {
    const to = { ip: server.ip(family), port: await server.serve("echo") };
    for (const from of [client, plain]) {
      const call = await from.exchange(to, { bytes: 100_000 });
      assertEquals([call.error, call.receivedSha256], [null, call.sentSha256]);
    }
    const peers = (await server.served(to.port)).map(({ peer }) => peer.replace(/:\d+$/, ""));
    const own = family === 4 ? server.ipv4 : `[${server.ipv6}]`;
    assertEquals(peers, [own, own]);
  }
  // The data plane's lines come in batches, after the connections they are about.
  await eventually(() =>
    serverProxy.lines.find((line) =>
      line.includes('"level":"warn"') && line.includes("foreign source address")
    )
  );
});

namespaceTest(
  "without a mark, what the proxy sends comes back to it; with one it does not",
  async () => {
    const connections = 3;
    const hits = async (env: Readonly<Record<string, string | undefined>>) => {
      await using mesh = await startCapturedMesh(REDIRECT_NATIVE, { env });
      const { client, plain } = mesh;
      const to = { ip: plain.ipv4, port: await plain.serve("echo") };
      const before = (await counted(client))["outbound"]!;
      let served = 0;
      for (let count = 0; count < connections; count++) {
        const call = await client.exchange(to, { bytes: 1_000 });
        if (call.received === 1_000) served++;
      }
      const ready = await client.get({ ip: "127.0.0.1", port: 15021 }, "/healthz/ready");
      return {
        served,
        captured: (await counted(client))["outbound"]! - before,
        ready: ready.status,
      };
    };
    assertEquals(await hits({}), { served: connections, captured: connections, ready: 200 });
    // Descriptors bound the loop.
    const loop = await hits({ PACKET_MARK: undefined, DESCRIPTORS_MAX: "256" });
    assertEquals([loop.served, loop.ready], [0, 200]);
    assert(loop.captured > 20 * connections, `${loop.captured} connections captured`);
  },
);

namespaceTest(
  "the proxy marks what it opens and no listener, and keeps alive what can be idle for long",
  async () => {
    await using mesh = await startCapturedMesh(REDIRECT_NATIVE, {
      env: { KEEPALIVE_TIME: "5000s" },
    });
    const { client, server, clientProxy, serverProxy } = mesh;
    const port = await server.serve("echo");
    const held = await client.open({ ip: server.ipv4, port });
    await held.send("ping");
    assertEquals((await held.receive({ bytes: 4 })).text, "ping");

    const sockets = async (pod: Pod, { pid }: ProxyProcess) =>
      (await pod.run(["ss", "-Htanoep"])).split("\n").filter((line) =>
        line.includes(`pid=${pid},`)
      );
    const [outbound, inbound] = [
      await sockets(client, clientProxy),
      await sockets(server, serverProxy),
    ];
    const listeners = [...outbound, ...inbound].filter((line) => line.startsWith("LISTEN"));
    assert(listeners.length >= 12, listeners.join("\n"));
    assertEquals(listeners.filter((line) => line.includes("fwmark")), []);

    const expected = [
      { name: "accepted on 15001", of: outbound, address: ":15001 ", marked: false, kept: true },
      {
        name: "to 15008",
        of: outbound,
        address: `${server.ipv4}:15008 `,
        marked: true,
        kept: true,
      },
      { name: "accepted on 15008", of: inbound, address: ":15008 ", marked: false, kept: false },
      { name: "to the application", of: inbound, address: `:${port} `, marked: true, kept: true },
    ];
    for (const { name, of, address, marked, kept } of expected) {
      const found = of.filter((line) => line.startsWith("ESTAB") && line.includes(address));
      assertEquals(found.length, 1, name);
      // 5,000 s are 83 minutes: of what has begun to run out the minutes are shown.
      const seen = [found[0]!.includes("fwmark:0x539"), /timer:\(keepalive,8\dmin/.test(found[0]!)];
      assertEquals(seen, [marked, kept], `${name}: ${found[0]}`);
    }
    await held.close();
  },
);

for (
  const { set, capture, besides } of [
    { set: "proxy-native", capture: REDIRECT_NATIVE, besides: [] },
    // The runtime knows no networks of IPv6 addresses to grant, only single ones.
    { set: "proxy", capture: INHERITED_DENO, besides: [`--allow-net=${IPV6_PODS.join(",")}`] },
  ]
) {
  namespaceTest(`a captured proxy needs no more than the permissions of ${set}`, async () => {
    await using mesh = await startCapturedMesh(capture, {
      permissions: (folder) => [
        ...flagsOf(PERMISSION_SETS[set]!),
        ...besides,
        `--allow-read=src,${folder}`,
        `--allow-write=${folder}`,
      ],
    });
    const { client, plain, server } = mesh;
    for (const family of [4, 6] as const) {
      const calls = [[client, server], [client, plain], [plain, server]] as const;
      for (const [from, to] of calls) {
        const target = { ip: to.ip(family), port: await to.serve("echo") };
        const call = await from.exchange(target, { bytes: 100_000 });
        assertEquals([call.error, call.receivedSha256], [null, call.sentSha256]);
      }
    }
  });
}

interface Refused {
  readonly launcher: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A proxy that must end by itself, and what it prints until then. */
async function startInVain(
  { launcher, env }: Refused,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const [program, ...args] = [
    ...launcher,
    Deno.execPath(),
    "run",
    "-A",
    "--quiet",
    "mod.ts",
    "proxy",
  ];
  const kept = ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME"].flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  const fixed = Object.entries(POD_ENV).filter((entry): entry is [string, string] =>
    entry[1] !== undefined
  );
  const child = new Deno.Command(program!, {
    args,
    cwd: ROOT,
    clearEnv: true,
    env: {
      ...Object.fromEntries([...kept, ...fixed]),
      NO_COLOR: "1",
      DENO_TLS_CA_STORE: "",
      PROXY_MODE: "dedicated",
      XDS_ADDRESS: "",
      FAKE_CA: "true",
      ...env,
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), START_WITHIN_MS);
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

// What opens, what is said where it cannot, and that nothing needs ffi afterwards.
import { assertEquals, assertMatch } from "@std/assert";
import type { Channel } from "../../base/channel.ts";
import { DIAL, LISTEN, LOOPBACK } from "../../../tests/support/real_sockets.ts";
import type { Listener } from "../network.ts";
import { type NativeRuntimeOptions, openNativeRuntime } from "./runtime.ts";
import { NativeStartError } from "./start_error.ts";

const OPTIONS: NativeRuntimeOptions = {
  openSslLibDir: null,
  tls12: false,
  pqc: false,
  fips: null,
  packetMark: null,
  markListeners: false,
  reusePort: false,
  descriptorsMax: null,
  inheritedFds: [],
};

/** The sentence of a start that must fail. */
function sentence(options: Partial<NativeRuntimeOptions>): string {
  const bugs: unknown[] = [];
  try {
    openNativeRuntime({ ...OPTIONS, ...options }, { onBug: (thrown) => bugs.push(thrown) });
  } catch (error) {
    if (error instanceof NativeStartError) return error.message;
    throw error;
  }
  throw new Error("It should have failed");
}

/** Runs a program that imports the runtime as `openNativeRuntime`; gives what it printed. */
async function runProgram(
  body: string,
  options: { readonly flags?: readonly string[]; readonly before?: readonly string[] } = {},
): Promise<string> {
  const runtime = new URL("./runtime.ts", import.meta.url).href;
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/program.ts`;
    await Deno.writeTextFile(
      path,
      `import { openNativeRuntime } from "${runtime}";
       const OPTIONS = ${JSON.stringify(OPTIONS)};
       ${body}`,
    );
    const config = new URL("../../../deno.json", import.meta.url).pathname;
    const { before = [], flags = ["--allow-ffi"] } = options;
    const [program, ...args] = [
      ...before,
      Deno.execPath(),
      ...["run", "--no-prompt", "--quiet", "--no-check", `--config=${config}`, ...flags, path],
    ];
    const { stdout, stderr } = await new Deno.Command(program!, { args }).output();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("openNativeRuntime() opens a network that listens, dials and closes, turn by turn", () => {
  const bugs: unknown[] = [];
  const runtime = openNativeRuntime(OPTIONS, { onBug: (thrown) => bugs.push(thrown) });
  const { loop, network, info } = runtime;
  assertMatch(info.openssl, /^OpenSSL 3\./);
  assertEquals([info.fips, info.policy], [null, "default"]);
  const channels: Channel[] = [];
  const listeners: Listener[] = [];
  network.listen(LOOPBACK, LISTEN, (channel) => void channels.push(channel), (listener) => {
    listeners.push(listener as Listener);
    network.dial(listeners[0]!.local, DIAL, (channel) => void channels.push(channel as Channel));
  });
  while (channels.length < 2) loop.turn(1000);
  assertEquals(runtime.close().socket, 2, "Nothing is closed under open channels");
  for (const channel of channels) channel.reset(null);
  loop.turn(0);
  assertEquals([runtime.close(), bugs], [{}, []]);
});

Deno.test("openNativeRuntime() names what is missing, in one sentence, and leaves nothing open", () => {
  assertEquals(
    sentence({ openSslLibDir: "/nowhere" }),
    "Cannot read the folder OPENSSL_LIB_DIR=/nowhere: it does not exist",
  );
  assertEquals(
    sentence({ fips: { modulePath: "/nowhere/fips.so", configPath: null } }),
    "Cannot start with FIPS: FIPS_MODULE_PATH=/nowhere/fips.so cannot be read",
  );
  assertEquals(
    sentence({ inheritedFds: [999_999] }),
    "Cannot use inherited descriptor 999999: it is no socket (EBADF); LISTEN_FDS must name listening TCP sockets",
  );
});

Deno.test("openNativeRuntime() says that ffi was not granted", async () => {
  const said = await runProgram(
    "try { openNativeRuntime(OPTIONS, {}); } catch (error) { console.log(error.message); }",
    { flags: [] },
  );
  assertMatch(said, /^Cannot .*--allow-ffi/);
  assertEquals(said.trim().split("\n").length, 1);
});

Deno.test("openNativeRuntime() says that a packet mark needs a capability", async () => {
  const isRoot = Deno.uid() === 0;
  const said = await runProgram(
    `try { openNativeRuntime({ ...OPTIONS, packetMark: 1337 }, {}); }
     catch (error) { console.log(error.message); }`,
    { before: isRoot ? ["setpriv", "--bounding-set=-net_admin,-net_raw"] : [] },
  );
  assertEquals(
    said,
    "Cannot start the native network: PACKET_MARK=1337 needs CAP_NET_ADMIN: " +
      "cannot set packet mark 1337: Operation not permitted (os error 1)\n",
  );
});

Deno.test("a runtime works after ffi was given up", async () => {
  const said = await runProgram(`
    const runtime = openNativeRuntime(OPTIONS, { onBug: (bug) => console.log(bug) });
    Deno.permissions.revokeSync({ name: "ffi" });
    const { network, loop } = runtime;
    const listen = { backlog: 8, keepalive: null };
    const dial = { timeoutMs: 1000, keepalive: null, sourceIp: null };
    let open = 2;
    const handler = (channel) => ({
      onData(block, start, end) {
        console.log(new TextDecoder().decode(block.bytes.subarray(start, end)));
        channel.reset(null);
      },
      onEnd() {},
      onWritable() {},
      onClose() { open--; },
    });
    const hello = { bytes: new TextEncoder().encode("hello"), retain() {}, release() {} };
    network.listen({ ip: "127.0.0.1", port: 0 }, listen, (channel) => {
      channel.attach(handler(channel));
    }, (listener) => {
      network.dial(listener.local, dial, (channel) => {
        channel.attach(handler(channel));
        channel.write(hello, 0, 5);
      });
    });
    while (open > 0) loop.turn(1000);
    console.log(JSON.stringify(runtime.close()));
  `);
  assertEquals(said, "hello\n{}\n");
});

// The dialer on Deno.connectTls: the channel's rules, and when it must not be used at all.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { channelContract } from "../../../tests/support/channel_contract.ts";
import {
  DIAL,
  failure,
  fixedSource,
  pass,
  promised,
  RealNetwork,
  twoCertificates,
  until,
} from "../../../tests/support/real_sockets.ts";
import { adoptBlock } from "../../base/block.ts";
import { NetError, type ProxyError } from "../../base/errors.ts";
import type { SecureChannel } from "../network.ts";
import { DialError } from "../network.ts";

const CERTIFICATES = await twoCertificates();

async function denoPair(
  real: RealNetwork,
): Promise<{ client: SecureChannel; server: SecureChannel }> {
  await real.listen();
  const [client, server] = await Promise.all([
    promised<SecureChannel>((done) =>
      real.network.dialSecure(real.listener.local, {
        ...DIAL,
        tls: {
          certificate: CERTIFICATES.client,
          expected: [CERTIFICATES.server.identity],
          timeoutMs: 5000,
        },
      }, done)
    ),
    real.accept().then((channel) =>
      promised<SecureChannel>((done) =>
        real.network.secureServer(channel, {
          certificates: fixedSource(CERTIFICATES.server),
          timeoutMs: 5000,
        }, done)
      )
    ),
  ]);
  return { client, server };
}

channelContract("DenoConnChannel", async () => {
  const real = new RealNetwork({ tunnelDialer: "deno" });
  const { client, server } = await denoPair(real);
  return {
    a: client,
    b: server,
    drive: (condition) => until(condition),
    settle: () => pass(20),
    dispose: () => real[Symbol.asyncDispose](),
  };
}, {
  // The runtime closes such a connection with close_notify and FIN, never RST: its peer hears an orderly end.
  except: [
    "lets go of every block when reset under it",
    "reset() is closed at once, tells its own reason later and the peer an error",
    "keeps the first reason, and does nothing when it is over",
    "tells its end to a handler attached after it",
  ],
});

Deno.test("reset() of a DenoConnChannel is closed at once, tells its reason, and frees everything", async () => {
  await using real = new RealNetwork({ tunnelDialer: "deno" });
  const { client, server } = await denoPair(real);
  const block = adoptBlock(new Uint8Array(1_000_000));
  let told: ProxyError | null | undefined;
  client.attach({ onData() {}, onEnd() {}, onWritable() {}, onClose: (error) => told = error });
  client.write(block, 0, 1_000_000);
  const first = new NetError("CANCELLED");
  client.reset(first);
  client.reset(new NetError("EPIPE"));
  assertEquals([client.closed, told], [true, undefined]);
  await until(() => told === first);
  server.reset(null);
  await until(() => real.network.openSockets === 1 && block.references === 1);
});

Deno.test("the deno dialer cannot choose its source address, and says so", async () => {
  await using real = new RealNetwork({ tunnelDialer: "deno" });
  await real.listen();
  const error = await failure(
    promised<SecureChannel>((done) =>
      real.network.dialSecure(real.listener.local, {
        ...DIAL,
        sourceIp: "127.0.0.9",
        tls: { certificate: CERTIFICATES.client, expected: [], timeoutMs: 1000 },
      }, done)
    ),
  );
  assertEquals([error instanceof DialError, error.code], [true, "DENO_DIALER"]);
});

Deno.test.each<{ name: string; env: Record<string, string>; flags: string[]; says: string }>([
  {
    name: "with the store emptied",
    env: { DENO_TLS_CA_STORE: "" },
    flags: ["-A"],
    says: "null",
  },
  {
    name: "with the public roots in it",
    env: { DENO_TLS_CA_STORE: "mozilla" },
    flags: ["-A"],
    says: "started with DENO_TLS_CA_STORE= (set and empty)",
  },
  {
    name: "with another root added",
    env: { DENO_TLS_CA_STORE: "", NODE_EXTRA_CA_CERTS: "roots.pem" },
    flags: ["-A"],
    says: "TUNNEL_DIALER=deno trusts what NODE_EXTRA_CA_CERTS names",
  },
  {
    name: "where a variable may not be read",
    env: { DENO_TLS_CA_STORE: "" },
    flags: ["--allow-net=127.0.0.1"],
    says: "TUNNEL_DIALER=deno cannot be checked: Requires env access",
  },
  {
    name: "under scoped permissions",
    env: { DENO_TLS_CA_STORE: "" },
    flags: [
      "--allow-net=127.0.0.0/8",
      "--allow-env=DENO_TLS_CA_STORE,DENO_CERT,NODE_EXTRA_CA_CERTS",
    ],
    says: "null",
  },
])("denoDialerRefusal() $name", async ({ env, flags, says }) => {
  const dialer = new URL("./deno_dialer.ts", import.meta.url).href;
  const script = `import { denoDialerRefusal } from "${dialer}";
    Deno.stdout.writeSync(new TextEncoder().encode(String(await denoDialerRefusal())));`;
  using file = {
    path: Deno.makeTempFileSync({ suffix: ".ts" }),
    [Symbol.dispose]() {
      Deno.removeSync(this.path);
    },
  };
  Deno.writeTextFileSync(file.path, script);
  const config = new URL("../../../deno.json", import.meta.url).pathname;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--quiet",
      "--no-check",
      `--config=${config}`,
      ...flags,
      file.path,
    ],
    clearEnv: true,
    env: { DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`, ...env },
  }).output();
  const text = new TextDecoder();
  assertEquals(text.decode(stderr), "");
  assertStringIncludes(text.decode(stdout), says);
});

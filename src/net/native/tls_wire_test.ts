// What goes over the wire, as the library's own tools and a reader of raw records see it (spec/identity-and-inpod §4.1).
import net from "node:net";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ROOT } from "../../../tests/support/bad_peers.ts";
import { OddCa } from "../../../tests/support/certificates.ts";
import { NativeTls } from "../../../tests/support/native_tls.ts";
import {
  DIAL,
  fixedSource,
  identity,
  pass,
  promised,
  until,
} from "../../../tests/support/real_sockets.ts";
import type { Channel } from "../../base/channel.ts";
import { ProxyError } from "../../base/errors.ts";
import type { CertifiedKey } from "../../tls/certificate.ts";
import type { SecureChannel } from "../network.ts";
import { ROOT_HINTS_MAX } from "./tls_context.ts";
import { LATE_MESSAGES_MAX } from "./tls_session.ts";

const MIDDLE = await ROOT.intermediate();
const SERVER = await MIDDLE.leaf({ uris: [identity("server").uri] });
const CLIENT = await ROOT.leaf({ uris: [identity("client").uri] });

/** `openssl s_client` towards our server, and what it printed. */
class SClient implements AsyncDisposable {
  output = "";
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reading: Promise<unknown>;
  readonly #folder: string;

  constructor(port: number, flags: readonly string[]) {
    this.#folder = Deno.makeTempDirSync();
    Deno.writeTextFileSync(`${this.#folder}/cert`, CLIENT.chainPem);
    Deno.writeTextFileSync(`${this.#folder}/key`, CLIENT.key.pem());
    Deno.writeTextFileSync(`${this.#folder}/ca`, CLIENT.rootsPem);
    const files = ["cert", "key"].flatMap((name) => [`-${name}`, `${this.#folder}/${name}`]);
    this.#child = new Deno.Command("openssl", {
      args: [
        "s_client",
        "-connect",
        `127.0.0.1:${port}`,
        ...files,
        "-CAfile",
        `${this.#folder}/ca`,
        ...flags,
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reading = Promise.all(
      [this.#child.stdout, this.#child.stderr].map(async (stream) => {
        for await (const chunk of stream.pipeThrough(new TextDecoderStream())) this.output += chunk;
      }),
    );
  }

  async type(line: string): Promise<void> {
    // It may have left already; what it printed tells.
    await this.#writer.write(new TextEncoder().encode(`${line}\n`)).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#child.status;
    await this.#reading;
    Deno.removeSync(this.#folder, { recursive: true });
  }
}

async function serve(
  world: NativeTls,
  certificate: CertifiedKey = SERVER,
): Promise<SecureChannel | ProxyError> {
  const channel = await world.accept();
  return await new Promise((resolve) =>
    world.network.secureServer(channel, {
      certificates: fixedSource(certificate),
      timeoutMs: 3000,
    }, resolve)
  );
}

function accepted(outcome: SecureChannel | ProxyError): SecureChannel {
  if (outcome instanceof ProxyError) throw outcome;
  return outcome;
}

interface Ended {
  error: ProxyError | null | undefined;
  text: string;
}

function listen(channel: Channel): Ended {
  const seen: Ended = { error: undefined, text: "" };
  channel.attach({
    onData: (block, start, end) => {
      seen.text += new TextDecoder().decode(block.bytes.subarray(start, end));
    },
    onEnd() {},
    onWritable() {},
    onClose: (error) => void (seen.error = error),
  });
  return seen;
}

Deno.test("a server sends leaf and intermediates, our roots as hints, and no ticket", async () => {
  await using world = new NativeTls();
  await world.listen();
  await using client = new SClient(world.listener.local.port, ["-alpn", "h2", "-msg"]);
  const channel = accepted(await serve(world));
  const seen = listen(channel);
  await client.type("hello");
  await until(() => seen.text === "hello\n");
  await until(() => client.output.includes("Acceptable client certificate CA names"));
  const { output } = client;
  assertStringIncludes(output, "Acceptable client certificate CA names\nCN = odd root\n");
  assertMatch(output, /Certificate chain\n 0 s:.*\n(?: {3}.*\n)* 1 s:.*\n(?: {3}.*\n)*---/);
  assertStringIncludes(output, "New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384");
  assertStringIncludes(output, "Server Temp Key: X25519");
  assertStringIncludes(output, "ALPN protocol: h2");
  assertStringIncludes(output, "Verify return code: 0 (ok)");
  assert(!output.includes("NewSessionTicket"), "no ticket");
  assert(!output.includes("SSL-Session:"), "no session to resume");
  channel.reset(null);
});

for (const verifyInLibrary of [false, true]) {
  Deno.test(`a server certified by a root sends its leaf alone (verifyInLibrary ${verifyInLibrary})`, async () => {
    await using world = new NativeTls({ policy: { verifyInLibrary } });
    await world.listen();
    await using client = new SClient(world.listener.local.port, []);
    const leaf = await ROOT.leaf({ uris: [identity("server").uri] });
    const outcome = await serve(world, leaf);
    await until(() => client.output.includes("Verify return code"));
    assertMatch(client.output, /Certificate chain\n 0 s:.*\n(?: {3}.*\n)*---/);
    accepted(outcome).reset(null);
  });
}

Deno.test("a server names as many roots as it may (ROOT_HINTS_MAX)", async () => {
  assertEquals(ROOT_HINTS_MAX, 64);
  const others = await Promise.all(
    Array.from({ length: ROOT_HINTS_MAX }, (_, at) => OddCa.root({ subject: `CN=root ${at}` })),
  );
  const rootsDer = [...others.map(({ root }) => new Uint8Array(root.rawData)), ...SERVER.rootsDer];
  for (const count of [ROOT_HINTS_MAX - 1, ROOT_HINTS_MAX, ROOT_HINTS_MAX + 1]) {
    await using world = new NativeTls();
    await world.listen();
    await using client = new SClient(world.listener.local.port, []);
    // The last one is the client's own: it is let in however many are named.
    const channel = accepted(await serve(world, { ...SERVER, rootsDer: rootsDer.slice(-count) }));
    await until(() => client.output.includes("Verify return code"));
    const hints = client.output.match(/^CN = (root \d+|odd root)$/gm) ?? [];
    assertEquals(hints.length, Math.min(count, ROOT_HINTS_MAX));
    channel.reset(null);
  }
});

Deno.test.each([
  { flags: ["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], code: "TLS_PROTOCOL", alert: 40 },
  { flags: ["-groups", "P-521"], code: "TLS_PROTOCOL", alert: 40 },
  { flags: ["-tls1_2"], code: "TLS_VERSION", alert: 70 },
  { flags: ["-alpn", "http/1.1"], code: "NO_ALPN", alert: 120 },
])("a server refuses $flags: alert $alert", async ({ flags, code, alert }) => {
  await using world = new NativeTls();
  await world.listen();
  await using client = new SClient(world.listener.local.port, flags);
  const outcome = await serve(world);
  if (!(outcome instanceof ProxyError)) throw new Error("It should have been refused");
  assertEquals(outcome.code, code);
  await until(() => client.output.includes(`SSL alert number ${alert}`));
});

Deno.test.each([
  { flags: ["-ciphersuites", "TLS_AES_128_GCM_SHA256"], says: "TLS_AES_128_GCM_SHA256" },
  { flags: ["-groups", "P-256"], says: "Server Temp Key: ECDH, prime256v1" },
  { flags: ["-groups", "P-384"], says: "Server Temp Key: ECDH, secp384r1" },
  { flags: ["-groups", "P-521:P-384"], says: "Server Temp Key: ECDH, secp384r1" },
  { flags: ["-servername", "some.host"], says: "TLS_AES_256_GCM_SHA384" },
])("a server accepts $flags", async ({ flags, says }) => {
  await using world = new NativeTls();
  await world.listen();
  await using client = new SClient(world.listener.local.port, flags);
  const outcome = accepted(await serve(world));
  await until(() => client.output.includes("Verify return code"));
  assertStringIncludes(client.output, says);
  outcome.reset(null);
});

Deno.test("key updates are answered, and a flood of them ends the session (LATE_MESSAGES_MAX)", async () => {
  assertEquals(LATE_MESSAGES_MAX, 64);
  await using world = new NativeTls();
  await world.listen();
  await using client = new SClient(world.listener.local.port, []);
  const channel = accepted(await serve(world));
  const seen = listen(channel);
  await until(() => client.output.includes("Verify return code"));
  for (let at = 0; at < 5; at++) {
    await client.type("K");
    await pass(20);
  }
  await client.type("still here");
  await until(() => seen.text === "still here\n");
  let updates = 5;
  while (seen.error === undefined && updates < 3 * LATE_MESSAGES_MAX) {
    await client.type("K");
    await pass(10);
    updates++;
  }
  assertEquals(
    [seen.error?.code, seen.error?.message],
    ["TLS_PROTOCOL", "peer misbehaved: TooManyKeyUpdateRequests"],
  );
  // Each asks for an answer and counts twice. On a busy machine the client reads some lines as one.
  assert(updates > LATE_MESSAGES_MAX / 2, `${updates} updates`);
});

Deno.test("renegotiation is refused where TLS 1.2 is allowed", async () => {
  await using world = new NativeTls({ tls12: true });
  await world.listen();
  await using client = new SClient(world.listener.local.port, ["-tls1_2"]);
  const channel = accepted(await serve(world));
  const seen = listen(channel);
  await until(() => client.output.includes("Verify return code"));
  await client.type("R");
  await until(() => client.output.includes("no renegotiation") || seen.error !== undefined);
  assertEquals(seen.text, "");
  channel.reset(null);
});

/** The extensions of a ClientHello by type, and its suites, from raw records (RFC 8446 §4.1.2). */
function readHello(record: Uint8Array): {
  readonly suites: readonly number[];
  readonly extensions: ReadonlyMap<number, Uint8Array>;
} {
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  assertEquals([record[0], record[5]], [22, 1]);
  let at = 5 + 4 + 2 + 32;
  at += 1 + record[at]!;
  const suites: number[] = [];
  const suitesEnd = at + 2 + view.getUint16(at);
  for (at += 2; at < suitesEnd; at += 2) suites.push(view.getUint16(at));
  at += 1 + record[at]!;
  const extensions = new Map<number, Uint8Array>();
  for (at += 2; at < record.length;) {
    const length = view.getUint16(at + 2);
    extensions.set(view.getUint16(at), record.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return { suites, extensions };
}

function words(bytes: Uint8Array, from: number): number[] {
  const found: number[] = [];
  for (let at = from; at < bytes.length; at += 2) found.push(bytes[at]! << 8 | bytes[at + 1]!);
  return found;
}

Deno.test("a client's hello: two suites, TLS 1.3, X25519 first with the one key share, h2, no name, nothing to resume", async () => {
  const EXTENSION = {
    name: 0,
    groups: 10,
    alpn: 16,
    ticket: 35,
    psk: 41,
    early: 42,
    versions: 43,
    share: 51,
  };
  await using world = new NativeTls();
  const hellos: Uint8Array[] = [];
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (bytes) => {
      hellos.push(new Uint8Array(bytes as Uint8Array));
      socket.destroy();
    });
  }).listen(0, "127.0.0.1");
  await until(() => server.listening);
  const { port } = server.address() as net.AddressInfo;
  for (let round = 0; round < 2; round++) {
    const channel = await promised<Channel>((done) =>
      world.network.dial({ ip: "127.0.0.1", port }, DIAL, done)
    );
    const outcome = await new Promise<SecureChannel | ProxyError>((resolve) =>
      world.network.secureClient(channel, {
        certificate: CLIENT,
        expected: [identity("server")],
        timeoutMs: 3000,
      }, resolve)
    );
    assert(outcome instanceof ProxyError);
  }
  server.close();
  for (const hello of hellos) {
    const { suites, extensions } = readHello(hello);
    const extension = (type: number) => extensions.get(type) ?? new Uint8Array(0);
    // 255 is the marker of secure renegotiation, which 3.0 adds to any list.
    assertEquals(suites.filter((suite) => suite !== 0xff), [0x1302, 0x1301]);
    assertEquals(words(extension(EXTENSION.versions), 1), [0x0304]);
    const groups = words(extension(EXTENSION.groups), 2);
    const hybrid = world.openssl.number >= 0x30500000 ? [0x11ec] : [];
    assertEquals(groups, [29, 23, 24, ...hybrid]);
    assertEquals(words(extension(EXTENSION.share).subarray(0, 6), 2), [29, 32]);
    assertEquals(extension(EXTENSION.share).length, 2 + 2 + 2 + 32);
    assertEquals(extension(EXTENSION.alpn), Uint8Array.of(0, 3, 2, 0x68, 0x32));
    for (const type of [EXTENSION.name, EXTENSION.ticket, EXTENSION.psk, EXTENSION.early]) {
      assert(!extensions.has(type), `extension ${type} is not sent`);
    }
  }
  assertEquals(hellos.length, 2);
});

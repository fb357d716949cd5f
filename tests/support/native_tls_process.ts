// A process that makes TLS connections to itself after it gave ffi up: prints what went well, for tls_revoked_test.ts.
import process from "node:process";
import { adoptBlock } from "../../src/base/block.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { NativeTls } from "./native_tls.ts";
import { fixedSource, identity, promised, twoCertificates, until } from "./real_sockets.ts";
import type { SecureChannel } from "../../src/net/network.ts";

const ROUNDS = Number(process.argv[2] ?? 20);

const certificates = await twoCertificates();
const world = new NativeTls({ policy: { verifyInLibrary: process.argv[3] === "library" } });
await world.listen();
Deno.permissions.revokeSync({ name: "ffi" });

// Contexts, handshakes on both sides, data, a refusal, rotation and closing: all without ffi.
let bytes = 0;
let garbage: unknown[] = [];
for (let round = 0; round < ROUNDS; round++) {
  world.engine.pin(certificates.server);
  const { client, server } = await world.securePair(certificates);
  server.attach({
    onData: (_block, start, end) => void (bytes += end - start),
    onEnd() {},
    onWritable() {},
    onClose() {},
  });
  client.write(adoptBlock(new Uint8Array(1000)), 0, 1000);
  await until(() => bytes === 1000 * (round + 1));
  client.reset(null);
  server.reset(null);
  if (round % 4 === 0) world.engine.unpin(certificates.server);
  // Lets the collector run while the library calls back.
  garbage = Array.from({ length: 2000 }, () => new Uint8Array(64));
}
const plain = await world.plainPair();
const serving = promised<SecureChannel>((done) =>
  world.network.secureServer(plain.server, {
    certificates: fixedSource(certificates.server),
    timeoutMs: 3000,
  }, done)
).catch((error) => error);
const refused = await promised<SecureChannel>((done) =>
  world.network.secureClient(plain.client, {
    certificate: certificates.client,
    expected: [identity("somebody-else")],
    timeoutMs: 3000,
  }, done)
).catch((error) => error);
const alert = await serving;
await world[Symbol.asyncDispose]();
process.stdout.write(JSON.stringify({
  bytes,
  refused: refused instanceof ProxyError ? refused.code : null,
  alert: alert instanceof ProxyError ? alert.code : null,
  ffi: Deno.permissions.querySync({ name: "ffi" }).state,
  garbage: garbage.length,
}));

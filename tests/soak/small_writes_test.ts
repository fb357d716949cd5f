// The other end of the scale: a million writes of one octet.
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { serveEcho } from "../support/echo_server.ts";
import { TEST_NETWORK } from "../support/networks.ts";
import { startProxyPair } from "../support/proxy_pair.ts";
import { connectSocks5 } from "../support/socks5.ts";

const STREAMS = 50;
const WRITES = 1_000_000;

/** Writes octet by octet, Nagle off, reading the echo meanwhile; gives both hashes. */
async function whisper(connection: Deno.TcpConn): Promise<{ sent: string; received: string }> {
  const octets = crypto.getRandomValues(new Uint8Array(WRITES / STREAMS));
  const writing = (async () => {
    for (let at = 0; at < octets.length; at++) await connection.write(octets.subarray(at, at + 1));
    await connection.closeWrite();
  })();
  const received = createHash("sha256");
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const count = await connection.read(buffer);
    if (count === null) break;
    received.update(buffer.subarray(0, count));
  }
  await writing;
  connection.close();
  return {
    sent: createHash("sha256").update(octets).digest("hex"),
    received: received.digest("hex"),
  };
}

Deno.test(`[${TEST_NETWORK}] 1,000,000 writes of one octet on 50 streams arrive whole`, async () => {
  await using pair = await startProxyPair({ discardOutput: true });
  await using echo = serveEcho(pair.inbound.ip);
  const target = { ip: pair.inbound.ip, port: echo.port };
  const connections = await Promise.all(
    Array.from({ length: STREAMS }, () => connectSocks5(pair.outbound.ip, target)),
  );
  for (const { sent, received } of await Promise.all(connections.map(whisper))) {
    assertEquals(received, sent);
  }
});

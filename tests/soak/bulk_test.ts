// A gigabyte each way at once through both proxies, compared by hash.
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { TEST_NETWORK } from "../support/networks.ts";
import { startProxyPair } from "../support/proxy_pair.ts";
import { connectSocks5, writeAll } from "../support/socks5.ts";

const BYTES_EACH_WAY = 2 ** 30;
const CHUNK_BYTES = 128 * 1024;

/** Sends `BYTES_EACH_WAY` and FIN; gives the hash. Each chunk is random octets and its own number. */
async function send(connection: Deno.TcpConn): Promise<string> {
  const hash = createHash("sha256");
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (let start = 0; start < CHUNK_BYTES; start += 65_536) {
    crypto.getRandomValues(chunk.subarray(start, start + 65_536));
  }
  const number = new DataView(chunk.buffer);
  for (let sent = 0; sent < BYTES_EACH_WAY; sent += CHUNK_BYTES) {
    number.setFloat64(sent / CHUNK_BYTES % 1000 * 8, sent);
    hash.update(chunk);
    await writeAll(connection, chunk);
  }
  await connection.closeWrite();
  return hash.digest("hex");
}

/** Reads to the end; gives the hash and the count. */
async function receive(connection: Deno.TcpConn): Promise<{ hash: string; bytes: number }> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(256 * 1024);
  for (let bytes = 0;;) {
    const count = await connection.read(buffer);
    if (count === null) return { hash: hash.digest("hex"), bytes };
    hash.update(buffer.subarray(0, count));
    bytes += count;
  }
}

/** Only the runtime's own sockets have two ways to dial. */
const DIALERS = TEST_NETWORK === "deno" ? ["node", "deno"] : ["native"];

Deno.test.each(DIALERS.map((dialer) => ({ dialer })))(
  `[${TEST_NETWORK}] 1 GiB each way at once arrives whole, dialled by $dialer`,
  async ({ dialer }) => {
    await using pair = await startProxyPair({
      env: dialer === "native" ? {} : { TUNNEL_DIALER: dialer },
    });
    using listener = Deno.listen({ hostname: pair.inbound.ip, port: 0 });
    const { port } = listener.addr;
    const accepted = listener.accept();
    const client = await connectSocks5(pair.outbound.ip, { ip: pair.inbound.ip, port });
    const server = await accepted;
    const [up, atServer, down, atClient] = await Promise.all([
      send(client),
      receive(server),
      send(server),
      receive(client),
    ]);
    client.close();
    server.close();
    assertEquals(atServer, { hash: up, bytes: BYTES_EACH_WAY });
    assertEquals(atClient, { hash: down, bytes: BYTES_EACH_WAY });
    const isOurs = (line: Readonly<Record<string, string | number>>) =>
      line["dst.hbone_addr"] === `${pair.inbound.ip}:${port}`;
    for (const proxy of [pair.outbound, pair.inbound]) {
      const line = await proxy.accessLine(isOurs);
      assertEquals([line.bytes_sent, line.bytes_recv], [BYTES_EACH_WAY, BYTES_EACH_WAY]);
      assertEquals(line.error, undefined);
    }
  },
);

// The rules of Channel on TLS sessions: on sockets from either side, and inside any other channel.
import { setImmediate } from "node:timers";
import { assert, assertEquals } from "@std/assert";
import { channelContract, type ChannelPair } from "../../../tests/support/channel_contract.ts";
import { bytePipe, type PipeOptions } from "../../../tests/support/byte_pipe.ts";
import { NativeTls } from "../../../tests/support/native_tls.ts";
import { pass, twoCertificates, until } from "../../../tests/support/real_sockets.ts";
import { adoptBlock, type Block } from "../../base/block.ts";
import type { Channel } from "../../base/channel.ts";
import {
  RECORD_BYTES_MAX,
  RECORDS_PER_READ_MAX,
  TLS_READS_PER_TURN_MAX,
  TLS_UNSENT_BYTES_MAX,
  type TlsChannel,
} from "./tls_channel.ts";

const CERTIFICATES = await twoCertificates();

function pairOf(world: NativeTls, a: Channel, b: Channel): ChannelPair {
  return {
    a,
    b,
    drive: (condition) => until(condition),
    settle: () => pass(20),
    dispose: () => world[Symbol.asyncDispose](),
  };
}

channelContract("TlsChannel on a socket, dialed to accepted,", async () => {
  const world = new NativeTls();
  const { client, server } = await world.securePair(CERTIFICATES);
  return pairOf(world, client, server);
});

channelContract("TlsChannel on a socket, accepted to dialed,", async () => {
  const world = new NativeTls();
  const { client, server } = await world.securePair(CERTIFICATES);
  return pairOf(world, server, client);
});

channelContract("TlsChannel inside TLS", async () => {
  const world = new NativeTls();
  const outer = await world.securePair(CERTIFICATES);
  const { client, server } = await world.secure(outer, CERTIFICATES);
  return pairOf(world, client, server);
});

for (
  const [name, options] of Object.entries<PipeOptions>({
    "whole": { highWaterBytes: 64 * 1024, keepsBlocks: true },
    "in pieces of 1,000 octets": { highWaterBytes: 100_000, pieceBytes: 1000 },
  })
) {
  channelContract(`TlsChannel inside a pipe that delivers ${name}`, async () => {
    const world = new NativeTls();
    const [left, right] = bytePipe(world.loop.clock, options);
    const { client, server } = await world.secure({ client: left, server: right }, CERTIFICATES);
    return pairOf(world, client, server);
  });
}

Deno.test("TlsChannel.write() takes TLS_UNSENT_BYTES_MAX that nobody reads before it answers false", async () => {
  await using world = new NativeTls();
  const { client, server } = await world.securePair(CERTIFICATES);
  const block = adoptBlock(new Uint8Array(TLS_UNSENT_BYTES_MAX));
  const channel = client as TlsChannel;
  // Until the kernel takes no more.
  while (channel.unsentBytes === 0) channel.write(block, 0, RECORD_BYTES_MAX * 8);
  const room = TLS_UNSENT_BYTES_MAX - channel.unsentBytes;
  assertEquals(channel.write(block, 0, room - 1), true);
  assertEquals(channel.write(block, 0, 1), true);
  assertEquals(channel.write(block, 0, 1), false);
  client.reset(null);
  server.reset(null);
  await until(() => world.network.openSockets === 1);
  assertEquals(block.references, 1);
});

Deno.test("TlsChannel delivers blocks of 256 KiB under load, and at most RECORDS_PER_READ_MAX records in one", async () => {
  await using world = new NativeTls();
  const { client, server } = await world.securePair(CERTIFICATES);
  const sizes: number[] = [];
  let bytes = 0;
  const handler = {
    onData: (_block: Block, start: number, end: number) => {
      bytes += end - start;
      sizes.push(end - start);
    },
    onEnd() {},
    onWritable() {},
    onClose() {},
  };
  const block = adoptBlock(new Uint8Array(400_000));
  client.write(block, 0, 400_000);
  await pass(20);
  server.attach(handler);
  await until(() => bytes === 400_000);
  assertEquals(Math.max(...sizes), 256 * 1024);
  server.pause();
  sizes.length = 0;
  for (let at = 0; at < 3 * RECORDS_PER_READ_MAX; at++) {
    client.write(block, 0, 1);
    // Each turn's bytes are a record.
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await pass(20);
  server.resume();
  await until(() => bytes === 400_000 + 3 * RECORDS_PER_READ_MAX);
  assert(sizes.length >= 3 && Math.max(...sizes) <= RECORDS_PER_READ_MAX, `${sizes}`);
  client.reset(null);
  server.reset(null);
});

Deno.test("TlsChannel delivers TLS_READS_PER_TURN_MAX blocks in a turn, and goes on in the next", async () => {
  assertEquals(TLS_READS_PER_TURN_MAX, 1);
  await using world = new NativeTls();
  const { client, server } = await world.securePair(CERTIFICATES);
  const perTurn = new Map<number, number>();
  let bytes = 0;
  server.attach({
    onData: (_block, start, end) => {
      bytes += end - start;
      const { turns } = world.loop.stats;
      perTurn.set(turns, (perTurn.get(turns) ?? 0) + 1);
    },
    onEnd() {},
    onWritable() {},
    onClose() {},
  });
  server.pause();
  const total = 1024 * 1024;
  client.write(adoptBlock(new Uint8Array(total)), 0, total);
  await pass(50);
  server.resume();
  await until(() => bytes === total);
  client.reset(null);
  server.reset(null);
  assertEquals(Math.max(...perTurn.values()), TLS_READS_PER_TURN_MAX);
});

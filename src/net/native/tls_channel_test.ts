// The rules of Channel on TLS sessions: on sockets from either side, and inside any other channel.
import { channelContract, type ChannelPair } from "../../../tests/support/channel_contract.ts";
import { bytePipe, type PipeOptions } from "../../../tests/support/byte_pipe.ts";
import { NativeTls } from "../../../tests/support/native_tls.ts";
import { pass, twoCertificates, until } from "../../../tests/support/real_sockets.ts";
import type { Channel } from "../../base/channel.ts";

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

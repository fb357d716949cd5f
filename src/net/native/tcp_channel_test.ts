// The rules of Channel on plain descriptors, and what is particular to them.
import { channelContract, type ChannelPair } from "../../../tests/support/channel_contract.ts";
import { NativeLoopback } from "../../../tests/support/native_sockets.ts";
import { pass, until } from "../../../tests/support/real_sockets.ts";
import type { Channel } from "../../base/channel.ts";

function pairOf(world: NativeLoopback, a: Channel, b: Channel): ChannelPair {
  return {
    a,
    b,
    drive: (condition) => until(condition),
    settle: () => pass(20),
    dispose: () => world[Symbol.asyncDispose](),
  };
}

channelContract("TcpChannel, dialed to accepted,", async () => {
  const world = new NativeLoopback();
  const { client, server } = await world.plainPair();
  return pairOf(world, client, server);
});

channelContract("TcpChannel, accepted to dialed,", async () => {
  const world = new NativeLoopback();
  const { client, server } = await world.plainPair();
  return pairOf(world, server, client);
});

import { assertEquals } from "@std/assert";
import { Socket } from "node:net";
import { LoopPump } from "../../../tests/support/native_loop_pump.ts";
import { Libc } from "./libc.ts";
import { CountedObjects } from "./live_objects.ts";
import { NativeLoop } from "./loop.ts";
import { WAKE_READ_BYTES, WAKE_READS_MAX, WakeChannel } from "./wake_channel.ts";

function fail(thrown: unknown): void {
  throw thrown;
}

function open(events: string[]) {
  const libc = Libc.open();
  const objects = new CountedObjects();
  const loop = new NativeLoop({ libc, objects, onBug: fail });
  const channel = new WakeChannel({
    libc,
    loop,
    objects,
    onWake: () => events.push("wake"),
    onGone: () => events.push("gone"),
    onFault: fail,
  });
  const write = (octets: number) => {
    assertEquals(libc.write(channel.remoteFd, new Uint8Array(octets), 0, octets), octets);
  };
  const close = () => {
    channel.close();
    loop.close();
    assertEquals([...objects.counts], []);
    libc[Symbol.dispose]();
  };
  return { libc, loop, channel, write, close };
}

Deno.test("WakeChannel tells of many octets once per turn and of later ones again", () => {
  const events: string[] = [];
  const { libc, loop, channel, write, close } = open(events);
  write(1);
  write(100);
  loop.turn(1000);
  assertEquals(events, ["wake"]);
  loop.turn(0);
  assertEquals(events, ["wake"]);
  write(1);
  loop.turn(1000);
  assertEquals(events, ["wake", "wake"]);
  libc.close(channel.remoteFd);
  close();
});

Deno.test.each([
  { name: "one octet fewer in one turn", octets: WAKE_READS_MAX * WAKE_READ_BYTES - 1, turns: 1 },
  {
    name: "its limit in one",
    octets: WAKE_READS_MAX * WAKE_READ_BYTES,
    turns: 1,
  },
  { name: "one octet more in two", octets: WAKE_READS_MAX * WAKE_READ_BYTES + 1, turns: 2 },
])("WakeChannel reads at most WAKE_READS_MAX times per turn: $name", ({ octets, turns }) => {
  const events: string[] = [];
  const { libc, loop, channel, write, close } = open(events);
  write(octets);
  loop.turn(1000);
  for (let extra = 0; extra < 3; extra++) loop.turn(0);
  assertEquals(events.length, turns);
  libc.close(channel.remoteFd);
  close();
});

Deno.test("WakeChannel tells once that the other end is gone, after what it had written", () => {
  const events: string[] = [];
  const { libc, loop, channel, write, close } = open(events);
  write(1);
  libc.close(channel.remoteFd);
  loop.turn(1000);
  loop.turn(0);
  assertEquals(events, ["wake", "gone"]);
  close();
});

Deno.test("WakeChannel closed by the loop is an end of file at the other end", () => {
  const { libc, channel, close } = open([]);
  channel.close();
  assertEquals(libc.read(channel.remoteFd, new Uint8Array(new ArrayBuffer(1)), 0, 1), 0);
  libc.close(channel.remoteFd);
  close();
});

Deno.test("WakeChannel is woken by a socket of the runtime that adopted the other end", async () => {
  const events: string[] = [];
  const { loop, channel, close } = open(events);
  {
    using _pump = new LoopPump(loop);
    const socket = new Socket({ fd: channel.remoteFd, readable: true, writable: true });
    const ended = new Promise((resolve) => socket.once("close", resolve));
    socket.resume();
    await new Promise<void>((resolve) => socket.write(new Uint8Array(1), () => resolve()));
    while (events.length < 1) await new Promise((resolve) => setTimeout(resolve, 0));
    socket.end();
    while (events.length < 2) await new Promise((resolve) => setTimeout(resolve, 0));
    await ended;
  }
  assertEquals(events, ["wake", "gone"]);
  close();
});

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

Deno.test("WakeChannel wakes a worker that sleeps in its loop with ffi given up", async () => {
  const script = (...names: string[]) =>
    names.map((name) => `import * as ${name} from "${new URL(`./${name}.ts`, import.meta.url)}";`)
      .join("");
  const source = script("libc", "loop", "live_objects", "wake_channel") + `
    const calls = libc.Libc.open();
    const objects = new live_objects.CountedObjects();
    const fail = (thrown) => { throw thrown; };
    const turning = new loop.NativeLoop({ libc: calls, objects, onBug: fail });
    const channel = new wake_channel.WakeChannel({
      libc: calls, loop: turning, objects, onFault: fail,
      onWake: () => self.postMessage("wake"),
      onGone: () => turning.stop(),
    });
    Deno.permissions.revokeSync({ name: "ffi" });
    self.postMessage(channel.remoteFd);
    turning.run();
    turning.close();
    self.postMessage([...objects.counts].length);
    self.close();`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(source)}`, {
    type: "module",
  });
  const messages: unknown[] = [];
  const received = new Promise<void>((resolve, reject) => {
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
    let socket: Socket | null = null;
    worker.onmessage = ({ data }) => {
      messages.push(typeof data === "number" && socket === null ? "fd" : data);
      if (socket === null) {
        socket = new Socket({ fd: data, readable: true, writable: true });
        socket.resume();
      }
      if (messages.length < 4) socket.write(new Uint8Array(1));
      else if (messages.length === 4) socket.destroy();
      else resolve();
    };
  });
  await received;
  worker.terminate();
  assertEquals(messages, ["fd", "wake", "wake", "wake", 0]);
});

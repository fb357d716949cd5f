// What the calls, turns and timers of the native loop cost.
//
// Run: deno bench -A tests/bench/native_loop_bench.ts. One iteration is 1,000 calls: µs shown are ns each.
import { Libc } from "../../src/net/native/libc.ts";
import { CountedObjects } from "../../src/net/native/live_objects.ts";
import { NativeLoop } from "../../src/net/native/loop.ts";
import { nativeBytes } from "../../src/net/native/native_bytes.ts";

/** Timers that wait during every measurement: a node full of idle connections. */
const TIMERS_WAITING = 100_000;

const libc = Libc.open();
const [left, right] = libc.socketpair();
const [writer, watched] = libc.socketpair();
const bytes = nativeBytes(65_536);
const loop = new NativeLoop({
  libc,
  objects: new CountedObjects(),
  onBug(thrown) {
    throw thrown;
  },
});
const nothing = () => {};
const task = { runTask: nothing };
const reader = {
  onReady: () => void libc.read(watched, bytes, 0, bytes.length),
  onFault: nothing,
};
loop.watch(watched, reader);
for (let index = 0; index < TIMERS_WAITING; index++) {
  loop.clock.after(10_001 + index * 2.9, nothing);
}

/** Calls per iteration, so that the harness's own cost does not count. */
const CALLS = 1000;

function each(name: string, call: () => void): void {
  Deno.bench(`${name} x${CALLS}`, { group: "native loop" }, () => {
    for (let index = 0; index < CALLS; index++) call();
  });
}

each("a call that fails, with its errno", () => void libc.close(-1));
each("read() of nothing", () => void libc.read(left, bytes, 0, 16));
each("write() and read() of 1 KiB", () => {
  libc.write(left, bytes, 0, 1024);
  libc.read(right, bytes, 0, 1024);
});
each("write() and read() of 1 KiB beyond the first octet", () => {
  libc.write(left, bytes, 1, 1024);
  libc.read(right, bytes, 1, 1024);
});
each("setInt()", () => void libc.setInt(left, 1, 9, 1));
each("turn(0) without work", () => loop.turn(0));
each("turn(0) with a task", () => {
  loop.clock.soon(task);
  loop.turn(0);
});
each("watch() and unwatch()", () => {
  loop.watch(right, reader);
  loop.unwatch(right);
});
each("write(), a turn, read() in onReady()", () => {
  libc.write(writer, bytes, 0, 16);
  loop.turn(0);
});
each("after() and cancel()", () => loop.clock.after(10_000, nothing).cancel());

import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../base/assert.ts";
import type { Task } from "../../base/clock.ts";
import { NetError } from "../../base/errors.ts";
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "./constants.ts";
import { EINTR, EPERM } from "./errno.ts";
import { Libc } from "./libc.ts";
import { CountedObjects } from "./live_objects.ts";
import { NativeLoop, type NativeLoopOptions, TURN_EVENTS_MAX, TURN_TASKS_MAX } from "./loop.ts";
import { nativeBytes } from "./native_bytes.ts";
import { NativeStartError } from "./start_error.ts";
import { TURN_TIMERS_MAX } from "./timer_wheel.ts";
import type { Watcher } from "./types.ts";

const OCTET = nativeBytes(1);

/** A loop, the calls below it, and the bugs it reported; disposing checks that nothing is left. */
class Bench implements Disposable {
  readonly libc = Libc.open();
  readonly objects = new CountedObjects();
  readonly bugs: unknown[] = [];
  readonly loop: NativeLoop;
  readonly #fds: number[] = [];

  constructor(options: Partial<NativeLoopOptions> = {}) {
    this.loop = new NativeLoop({
      libc: this.libc,
      objects: this.objects,
      onBug: (thrown) => this.bugs.push(thrown),
      ...options,
    });
  }

  /** Both ends of a pair of sockets, closed at the end unless the test closes them. */
  pair(): [number, number] {
    const pair = this.libc.socketpair();
    this.#fds.push(...pair);
    return pair;
  }

  /** A pair whose first end is watched. */
  watched(onReady: (events: number) => void, onFault: (thrown: unknown) => void = unexpected) {
    const [local, remote] = this.pair();
    this.loop.watch(local, { onReady, onFault });
    return { local, remote };
  }

  write(fd: number): void {
    assertEquals(this.libc.write(fd, OCTET, 0, 1), 1);
  }

  read(fd: number): number {
    return this.libc.read(fd, OCTET, 0, 1);
  }

  close(fd: number): void {
    this.#fds.splice(this.#fds.indexOf(fd), 1);
    this.libc.close(fd);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) {
      this.loop.unwatch(fd);
      this.libc.close(fd);
    }
    this.loop.close();
    this.libc[Symbol.dispose]();
    assertEquals([...this.objects.counts], []);
  }
}

function unexpected(thrown: unknown): never {
  throw thrown;
}

function task(runTask: () => void): Task {
  return { runTask };
}

/** libc whose `epollWait` is scripted: each number is given once instead of waiting. */
function scriptedWaits(libc: Libc, results: number[]): Libc {
  return new Proxy(libc, {
    get(target, name) {
      if (name === "epollWait" && results.length > 0) return () => results.shift();
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

Deno.test("NativeLoop tells once what is ready, and again after it was used up", () => {
  using bench = new Bench();
  const events: number[] = [];
  const { local, remote } = bench.watched((bits) => events.push(bits));
  bench.loop.turn(0);
  assertEquals(events, [EPOLLOUT]);
  bench.write(remote);
  bench.loop.turn(1000);
  bench.loop.turn(0);
  assertEquals(events, [EPOLLOUT, EPOLLIN | EPOLLOUT]);
  bench.read(local);
  bench.write(remote);
  bench.loop.turn(1000);
  assertEquals(events.length, 3);
});

Deno.test("NativeLoop tells of the peer's end", () => {
  using bench = new Bench();
  let events = 0;
  const { remote } = bench.watched((bits) => events = bits);
  bench.close(remote);
  bench.loop.turn(1000);
  assert((events & EPOLLRDHUP) !== 0);
});

Deno.test("NativeLoop drops an event fetched for a descriptor that the same turn unwatched", () => {
  using bench = new Bench();
  const ready: string[] = [];
  const first = bench.watched(() => {
    ready.push("first");
    bench.loop.unwatch(second.local);
  });
  const second = bench.watched(() => {
    ready.push("second");
    bench.loop.unwatch(first.local);
  });
  bench.loop.turn(1000);
  bench.loop.turn(0);
  assertEquals(ready, ["first"]);
});

Deno.test("NativeLoop gives no event of an earlier socket to a later one with the same number", () => {
  using bench = new Bench();
  const ready: string[] = [];
  let again: number | null = null;
  bench.watched(() => {
    if (again !== null) return;
    ready.push("first");
    bench.loop.unwatch(second.local);
    bench.close(second.local);
    // The kernel gives the lowest free number: this pair's first end is the closed one's successor.
    again = bench.pair()[0];
    bench.loop.watch(again, {
      onReady: () => ready.push("third"),
      onFault: unexpected,
    });
  });
  const second = bench.watched(() => ready.push("second"));
  bench.write(second.remote);
  bench.loop.turn(1000);
  assertEquals(again, second.local);
  assertEquals(ready, ["first"]);
  bench.loop.turn(1000);
  assertEquals(ready, ["first", "third"]);
});

Deno.test("NativeLoop.watch() refuses a descriptor that is watched, closed, or nothing to wait for", () => {
  using bench = new Bench();
  const { local } = bench.watched(() => {});
  const watcher: Watcher = { onReady: () => {}, onFault: unexpected };
  assertThrows(() => bench.loop.watch(local, watcher), AssertionFailure, "watched already");
  const closed = bench.libc.dup(local);
  bench.libc.close(closed);
  const bad = assertThrows(() => bench.loop.watch(closed, watcher), NetError);
  assertEquals(bad.code, "EBADF");
  const file = bench.libc.open("/proc/self/status", 0);
  const refused = assertThrows(() => bench.loop.watch(file, watcher), NetError);
  assertEquals(refused.code, "EPERM");
  bench.libc.close(file);
  assertEquals(bench.objects.counts.get("watch"), 1);
});

Deno.test.each([
  { name: "one fewer", sockets: TURN_EVENTS_MAX - 1, turns: 1 },
  { name: "as many", sockets: TURN_EVENTS_MAX, turns: 1 },
  { name: "one more", sockets: TURN_EVENTS_MAX + 1, turns: 2 },
])("NativeLoop hands out TURN_EVENTS_MAX events per turn: $name", ({ sockets, turns }) => {
  using bench = new Bench();
  let ready = 0;
  for (let index = 0; index < sockets; index++) bench.watched(() => ready++);
  let needed = 0;
  while (ready < sockets) {
    bench.loop.turn(0);
    needed++;
    assert(needed <= turns, "Events were lost");
  }
  assertEquals([ready, needed], [sockets, turns]);
});

Deno.test("NativeLoop gives an exception of a watcher to its onFault and goes on with the others", () => {
  using bench = new Bench();
  const bug = new Error("as planned");
  const faults: unknown[] = [];
  let ready = 0;
  bench.watched(() => {
    throw bug;
  }, (thrown) => faults.push(thrown));
  bench.watched(() => ready++);
  bench.loop.turn(1000);
  assertEquals([faults, ready, bench.bugs], [[bug], 1, []]);
  assertEquals(bench.loop.stats.bugs, 1);
});

Deno.test("NativeLoop reports what onFault, a task or a timer throws, and the turn goes on", () => {
  using bench = new Bench();
  const bugs = ["watcher", "fault", "next", "task", "timer"].map((text) => new Error(text));
  const thrower = (index: number) => () => {
    throw bugs[index];
  };
  bench.watched(thrower(0), thrower(1));
  let ran = 0;
  const count = task(() => ran++);
  bench.loop.nextTurn(task(thrower(2)));
  bench.loop.nextTurn(count);
  bench.loop.clock.soon(task(thrower(3)));
  bench.loop.clock.soon(count);
  bench.loop.turn(0);
  assertEquals(ran, 2);
  bench.loop.clock.after(0, thrower(4));
  bench.loop.turn(1000);
  while (bench.loop.timersWaiting > 0) bench.loop.turn(1000);
  assertEquals(bench.bugs, bugs.slice(1));
});

Deno.test("NativeLoop ends the turn where a bug cannot even be reported, and can turn again", () => {
  using bench = new Bench({
    onBug: () => {
      throw new Error("the log is gone");
    },
  });
  let ran = 0;
  bench.loop.clock.soon(task(() => {
    throw new Error("as planned");
  }));
  bench.loop.clock.soon(task(() => ran++));
  assertThrows(() => bench.loop.turn(0), Error, "the log is gone");
  bench.loop.turn(0);
  assertEquals(ran, 1);
});

Deno.test("Clock.soon() runs tasks in their order and what they schedule in the same turn", () => {
  using bench = new Bench();
  const ran: string[] = [];
  const { clock } = bench.loop;
  const third = task(() => ran.push("third"));
  bench.watched(() => {
    clock.soon(task(() => {
      ran.push("first");
      clock.soon(third);
    }));
    clock.soon(task(() => ran.push("second")));
    ran.push("ready");
  });
  bench.loop.turn(1000);
  assertEquals(ran, ["ready", "first", "second", "third"]);
});

Deno.test.each([
  { name: "one fewer", tasks: TURN_TASKS_MAX - 1, first: TURN_TASKS_MAX - 1 },
  { name: "as many", tasks: TURN_TASKS_MAX, first: TURN_TASKS_MAX },
  { name: "one more", tasks: TURN_TASKS_MAX + 1, first: TURN_TASKS_MAX },
])(
  "NativeLoop runs TURN_TASKS_MAX tasks per turn, the rest first thing: $name",
  ({ tasks, first }) => {
    using bench = new Bench();
    let ran = 0;
    for (let index = 0; index < tasks; index++) {
      const expected = index;
      bench.loop.clock.soon(task(() => assertEquals(ran++, expected)));
    }
    bench.loop.turn(-1);
    assertEquals(ran, first);
    if (first < tasks) bench.loop.turn(-1);
    assertEquals([ran, bench.bugs], [tasks, []]);
  },
);

Deno.test("NativeLoop looks at the descriptors and timers although tasks breed tasks for ever", () => {
  using bench = new Bench();
  const { clock } = bench.loop;
  let ready = 0;
  let fired = 0;
  const storm = task(() => clock.soon(storm));
  clock.soon(storm);
  clock.after(0, () => fired++);
  const { local, remote } = bench.watched(() => {
    bench.read(local);
    ready++;
  });
  for (let turn = 1; turn <= 3; turn++) {
    bench.write(remote);
    bench.loop.turn(-1);
    assertEquals(ready, turn);
  }
  assertEquals(fired, 1);
});

Deno.test("NativeLoop.nextTurn() runs a task once, after a look at the descriptors, without waiting", () => {
  using bench = new Bench();
  const ran: string[] = [];
  const { local, remote } = bench.watched(() => {
    ran.push("ready");
    bench.read(local);
  });
  const next = task(() => {
    ran.push("next");
    if (ran.length > 3) return;
    bench.write(remote);
    bench.loop.nextTurn(next);
    bench.loop.nextTurn(next);
  });
  bench.loop.nextTurn(next);
  bench.loop.nextTurn(next);
  bench.loop.turn(-1);
  assertEquals(ran, ["ready", "next"]);
  bench.loop.turn(-1);
  assertEquals(ran, ["ready", "next", "ready", "next"]);
});

Deno.test("NativeLoop.nextTurn() does nothing for a task that waits in this very turn", () => {
  using bench = new Bench();
  let ran = 0;
  const second = task(() => ran++);
  bench.loop.nextTurn(task(() => bench.loop.nextTurn(second)));
  bench.loop.nextTurn(second);
  bench.loop.turn(-1);
  assertEquals(ran, 1);
  bench.loop.turn(0);
  assertEquals(ran, 1);
});

Deno.test("NativeLoop lets a channel that always has more take turns with the others", () => {
  using bench = new Bench();
  let busy = 0;
  let ready = 0;
  const greedy = task(() => {
    busy++;
    bench.loop.nextTurn(greedy);
  });
  bench.loop.nextTurn(greedy);
  const { local, remote } = bench.watched(() => {
    bench.read(local);
    ready++;
  });
  for (let turn = 0; turn < 10; turn++) {
    bench.write(remote);
    bench.loop.turn(-1);
  }
  assertEquals([busy, ready], [10, 10]);
});

Deno.test("NativeLoop sleeps until a timer is due and no longer, never less", () => {
  using bench = new Bench();
  const startMs = performance.now();
  let firedMs = 0;
  bench.loop.clock.after(20, () => firedMs = performance.now());
  while (firedMs === 0) bench.loop.turn(-1);
  assert(firedMs - startMs >= 20);
  assert(bench.loop.stats.wakes <= 2, `${bench.loop.stats.wakes} wakes`);
});

Deno.test("Clock.nowMs() stands still during a turn; after() counts from the call", () => {
  let liveMs = 1000;
  using bench = new Bench({ nowMs: () => liveMs });
  const { clock } = bench.loop;
  let fired = 0;
  bench.watched(() => {
    const startMs = clock.nowMs();
    liveMs += 50;
    assertEquals(clock.nowMs(), startMs);
    clock.after(10, () => fired++);
  }, unexpected);
  bench.loop.turn(0);
  assertEquals(clock.nowMs(), 1050);
  liveMs += 9;
  bench.loop.turn(0);
  assertEquals(fired, 0);
  liveMs += 1;
  bench.loop.turn(0);
  assertEquals([fired, bench.bugs], [1, []]);
});

Deno.test("NativeLoop puts off timers beyond TURN_TIMERS_MAX, not descriptors", () => {
  let liveMs = 0;
  using bench = new Bench({ nowMs: () => liveMs });
  let fired = 0;
  let ready = 0;
  for (let index = 0; index <= TURN_TIMERS_MAX; index++) bench.loop.clock.after(5, () => fired++);
  bench.watched(() => ready++);
  liveMs = 6;
  bench.loop.turn(-1);
  assertEquals([fired, ready], [TURN_TIMERS_MAX, 1]);
  bench.loop.turn(-1);
  assertEquals(fired, TURN_TIMERS_MAX + 1);
});

Deno.test("NativeLoop takes a signal during the wait for a turn without events", () => {
  using libc = Libc.open();
  const objects = new CountedObjects();
  const loop = new NativeLoop({
    libc: scriptedWaits(libc, [-EINTR]),
    objects,
    onBug: unexpected,
  });
  let fired = 0;
  loop.clock.after(1, () => fired++);
  loop.turn(-1);
  assertEquals(loop.stats.events, 0);
  while (fired === 0) loop.turn(-1);
  loop.close();
});

Deno.test("NativeLoop is woken by a real signal and waits for the rest", async () => {
  const script = `
    import { Libc } from "${new URL("./libc.ts", import.meta.url)}";
    import { CountedObjects } from "${new URL("./live_objects.ts", import.meta.url)}";
    import { NativeLoop } from "${new URL("./loop.ts", import.meta.url)}";
    Deno.addSignalListener("SIGUSR2", () => {});
    const loop = new NativeLoop({
      libc: Libc.open(), objects: new CountedObjects(), onBug(thrown) { throw thrown; },
    });
    let fired = false;
    loop.clock.after(300, () => fired = true);
    console.log("waiting");
    let turns = 0;
    while (!fired) { loop.turn(-1); turns++; }
    console.log(turns);
    Deno.exit(0);`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "--ext=ts", "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value ?? "";
  assertEquals(text, "waiting\n");
  for (let signal = 0; signal < 5; signal++) {
    child.kill("SIGUSR2");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (let read = await reader.read(); !read.done; read = await reader.read()) text += read.value;
  assertEquals((await child.status).code, 0);
  assert(Number(text.split("\n")[1]) >= 2, `A signal ended no wait: ${text}`);
});

Deno.test("NativeLoop says at start which call is refused", () => {
  using libc = Libc.open();
  const refusing = new Proxy(libc, {
    get: (target, name) => name === "epollCreate" ? () => -EPERM : Reflect.get(target, name),
  });
  assertThrows(
    () => new NativeLoop({ libc: refusing, objects: new CountedObjects(), onBug: unexpected }),
    NativeStartError,
    "epoll_create1 failed: Operation not permitted (os error 1); a seccomp profile",
  );
});

Deno.test("NativeLoop.run() turns until stop(), and can run again", () => {
  using bench = new Bench();
  let fired = 0;
  const next = () => {
    fired++;
    if (fired % 3 === 0) bench.loop.stop();
    else bench.loop.clock.after(0, next);
  };
  bench.loop.clock.after(0, next);
  bench.loop.run();
  assertEquals(fired, 3);
  bench.loop.clock.after(0, next);
  bench.loop.run();
  assertEquals(fired, 6);
});

Deno.test("NativeLoop refuses a turn inside a turn, and a turn after close()", () => {
  using bench = new Bench();
  bench.loop.clock.soon(task(() => bench.loop.turn(0)));
  bench.loop.turn(0);
  assert(bench.bugs[0] instanceof AssertionFailure);
  bench.loop.close();
  bench.loop.close();
  assertThrows(() => bench.loop.turn(0), AssertionFailure, "closed");
});

Deno.test("NativeLoop that waits for long timers alone wakes less than twice a second", () => {
  let liveMs = 0;
  using libc = Libc.open();
  const waits: number[] = [];
  const patient = new Proxy(libc, {
    get(target, name) {
      if (name === "epollWait") {
        return (_epoll: number, _bytes: Uint8Array, _max: number, timeoutMs: number) => {
          waits.push(timeoutMs);
          liveMs += timeoutMs;
          return 0;
        };
      }
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const loop = new NativeLoop({
    libc: patient,
    objects: new CountedObjects(),
    onBug: unexpected,
    nowMs: () => liveMs,
  });
  const keep = (delayMs: number) => loop.clock.after(delayMs, () => keep(delayMs));
  for (let index = 0; index < 1000; index++) keep(10_001 + index * 77.7);
  while (liveMs < 60_000) loop.turn(-1);
  assert(loop.stats.wakesPerSecond(liveMs) < 2, `${loop.stats.wakesPerSecond(liveMs)}`);
  assert(waits.every((timeoutMs) => timeoutMs > 0), "The loop did not sleep");
  loop.close();
});

Deno.test("NativeLoop spins before it sleeps only where the last sleep was shorter than the spin", () => {
  let liveMs = 0;
  using libc = Libc.open();
  const waits: number[] = [];
  let sleepMs = 5;
  const counting = new Proxy(libc, {
    get(target, name) {
      if (name === "epollWait") {
        return (_epoll: number, _bytes: Uint8Array, _max: number, timeoutMs: number) => {
          waits.push(timeoutMs);
          liveMs += timeoutMs === 0 ? 0.01 : sleepMs;
          return 0;
        };
      }
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const loop = new NativeLoop({
    libc: counting,
    objects: new CountedObjects(),
    onBug: unexpected,
    nowMs: () => liveMs,
    spinUs: 50,
  });
  loop.turn(100);
  loop.turn(100);
  assertEquals(waits, [100, 100]);
  sleepMs = 0.02;
  loop.turn(100);
  waits.length = 0;
  loop.turn(100);
  assertEquals(waits.at(-1), 100);
  assert(waits.length >= 5 && waits.slice(0, -1).every((timeoutMs) => timeoutMs === 0), `${waits}`);
  assertEquals([loop.stats.spins, loop.stats.spinHits], [1, 0]);
  loop.close();
});

Deno.test("nextTurn() asked for by an event waits until the descriptors were looked at again", () => {
  using bench = new Bench();
  const order: string[] = [];
  const other = bench.watched((events) => {
    if ((events & EPOLLIN) !== 0) order.push("other");
  });
  const busy = bench.watched((events) => {
    if ((events & EPOLLIN) === 0) return;
    order.push("busy");
    bench.loop.nextTurn(task(() => void order.push("again")));
    bench.write(other.remote);
  });
  bench.loop.turn(0);
  bench.write(busy.remote);
  bench.loop.turn(0);
  assertEquals(order, ["busy"]);
  bench.loop.turn(0);
  assertEquals(order, ["busy", "other", "again"]);
});

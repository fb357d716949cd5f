// Accepting when the kernel says no, a turn's share, and pauses: the calls scripted, time and turns by hand.
import { assertEquals } from "@std/assert";
import { formatAddress } from "../../base/address.ts";
import type { ProxyError } from "../../base/errors.ts";
import { VirtualClock } from "../../base/virtual_clock.ts";
import type { Listener, ListenOptions } from "../network.ts";
import { EAGAIN, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { CountedObjects } from "./live_objects.ts";
import {
  ACCEPT_RETRY_MS,
  ACCEPTS_PER_TURN_MAX,
  type ListenerHome,
  NativeListener,
} from "./native_listener.ts";
import { encodeSocketAddress } from "./socket_address.ts";
import { SpareDescriptor } from "./spare_descriptor.ts";
import type { Loop } from "./types.ts";

const LISTEN: ListenOptions = { backlog: 8, keepalive: null };
const ADDRESS = { ip: "127.0.0.1", port: 80 };
const PEER = { ip: "10.0.0.9", port: 4000 };

/** A listener whose `accept` gives what is scripted, then EAGAIN. */
class Script {
  readonly clock = new VirtualClock();
  readonly objects = new CountedObjects();
  /** Results of `accept`, descriptors or minus errnos. */
  readonly answers: number[] = [];
  /** Whether descriptors are to be had for the spare. */
  descriptors = true;
  /** What happened, oldest first. */
  readonly log: string[] = [];
  readonly next = new Set<{ runTask(): void }>();
  readonly listener: NativeListener;
  readonly spare: SpareDescriptor;
  listening: Listener | ProxyError | null = null;
  accepts = 0;

  constructor(
    listen: Partial<ListenOptions> = {},
    calls: Partial<Record<keyof Libc, number>> = {},
  ) {
    const answer = () => {
      this.accepts++;
      return this.answers.shift() ?? -EAGAIN;
    };
    const ok = (name: keyof Libc) => () => calls[name] ?? 0;
    const libc = {
      addressLength: 16,
      socket: (family: number) => family === 1 ? (this.descriptors ? 90 : -EMFILE) : 7,
      bind: ok("bind"),
      listen: ok("listen"),
      setInt: ok("setInt"),
      setLinger: () => void this.log.push("linger"),
      getsockname: (_fd: number, into: Uint8Array) => encodeSocketAddress(ADDRESS, into),
      getBytes: ok("getBytes"),
      acceptFrom: (_fd: number, into: Uint8Array) => {
        encodeSocketAddress(PEER, into);
        return answer();
      },
      accept: answer,
      close: (fd: number) => void this.log.push(`close ${fd}`),
    } as unknown as Libc;
    const loop = {
      clock: this.clock,
      watch: () => {},
      unwatch: () => {},
      nextTurn: (task: { runTask(): void }) => void this.next.add(task),
    } as unknown as Loop;
    this.spare = new SpareDescriptor(libc, this.objects);
    const home: ListenerHome = {
      libc,
      loop,
      objects: this.objects,
      spare: this.spare,
      listenerMark: null,
      reusePort: false,
      refusedForWantOfDescriptors: () => void this.log.push("refused"),
      starved: (code) => void this.log.push(`starved ${code}`),
      originalDestinationUnknown: () => void this.log.push("unknown destination"),
      warn: (text) => void this.log.push(text),
      listenerClosed: () => {},
    };
    this.listener = new NativeListener(ADDRESS, {
      listen: { ...LISTEN, ...listen },
      home,
      inherited: null,
      onAccepted: (fd, peer, local) =>
        void this.log.push(`${fd} ${formatAddress(peer)} ${formatAddress(local)}`),
    }, (outcome) => this.listening = outcome);
    this.clock.runUntilIdle();
  }

  /** Connections are there: what is scripted, and the listener's turn. */
  ready(...answers: number[]): void {
    this.answers.push(...answers);
    this.listener.onReady(1);
  }

  /** The next turn of the loop. */
  turn(): void {
    const tasks = [...this.next];
    this.next.clear();
    for (const task of tasks) task.runTask();
  }
}

Deno.test("NativeListener accepts what waits, with both addresses", () => {
  const script = new Script();
  script.ready(20, 21);
  assertEquals(script.log, ["20 10.0.0.9:4000 127.0.0.1:80", "21 10.0.0.9:4000 127.0.0.1:80"]);
  script.listener.close();
  assertEquals(script.objects.counts.get("listener"), undefined);
});

Deno.test("NativeListener accepts ACCEPTS_PER_TURN_MAX a turn", () => {
  const script = new Script();
  script.ready(...Array.from({ length: ACCEPTS_PER_TURN_MAX + 1 }, (_, at) => at + 10));
  assertEquals(script.log.length, ACCEPTS_PER_TURN_MAX);
  script.turn();
  assertEquals(script.log.length, ACCEPTS_PER_TURN_MAX + 1);
  script.turn();
  assertEquals(script.next.size, 0);
});

Deno.test("NativeListener passes over connections that were lost before it came to them", () => {
  const script = new Script();
  script.ready(-ECONNABORTED, -EPERM, 20);
  assertEquals(script.log.length, 1);
});

for (const [errno, code] of [[EMFILE, "EMFILE"], [ENFILE, "ENFILE"]] as const) {
  Deno.test(`NativeListener refuses who waits while there is no descriptor (${code}), and keeps its spare`, () => {
    const script = new Script();
    script.ready(-errno, 20, -errno, 21, -errno, -EAGAIN);
    const refusal = ["close 90", "linger"];
    assertEquals(script.log, [
      ...refusal,
      "close 20",
      "refused",
      ...refusal,
      "close 21",
      "refused",
      "close 90",
    ]);
    assertEquals([script.spare.held, script.next.size, script.clock.pendingTimers], [true, 0, 0]);
  });
}

Deno.test("NativeListener does not turn in circles where nobody waits and there is no descriptor", () => {
  const script = new Script();
  // The kernel looks for a descriptor before it looks whether somebody waits.
  script.ready(-EMFILE, -EAGAIN, -EMFILE, -EAGAIN);
  assertEquals([script.accepts, script.next.size], [2, 0]);
});

Deno.test.each([
  { errno: ENOBUFS, code: "ENOBUFS" },
  { errno: ENOMEM, code: "ENOMEM" },
])("NativeListener tries again ACCEPT_RETRY_MS after $code", ({ errno, code }) => {
  const script = new Script();
  script.ready(-errno, 20);
  assertEquals(script.log, [`starved ${code}`]);
  script.clock.advance(ACCEPT_RETRY_MS - 1);
  assertEquals(script.log.length, 1);
  script.clock.advance(1);
  assertEquals(script.log.slice(1), ["20 10.0.0.9:4000 127.0.0.1:80"]);
  assertEquals(script.clock.pendingTimers, 0);
});

Deno.test("NativeListener without a spare goes on as soon as a descriptor came free", () => {
  const script = new Script();
  script.descriptors = false;
  script.spare.giveUp();
  script.log.length = 0;
  script.ready(-EMFILE);
  assertEquals(script.log, ["starved EMFILE"]);
  script.answers.push(20);
  script.listener.retry();
  script.turn();
  assertEquals(script.log.slice(1), ["20 10.0.0.9:4000 127.0.0.1:80"]);
  assertEquals(script.clock.pendingTimers, 0);
});

Deno.test("NativeListener that is closed while it waits for descriptors leaves no timer", () => {
  const script = new Script();
  script.ready(-ENOMEM);
  script.listener.close();
  assertEquals(script.clock.pendingTimers, 0);
  script.clock.advance(ACCEPT_RETRY_MS);
  assertEquals(script.accepts, 1);
});

Deno.test("NativeListener leaves connections in the kernel's queue while it is paused", () => {
  const script = new Script();
  script.listener.pause(true);
  script.ready(20);
  script.listener.pause(true);
  assertEquals([script.log, script.next.size], [[], 0]);
  script.listener.pause(false);
  script.turn();
  assertEquals(script.log, ["20 10.0.0.9:4000 127.0.0.1:80"]);
});

Deno.test("NativeListener takes the socket's own address where the kernel knows no original destination", () => {
  const script = new Script({ captured: true }, { getBytes: -2 });
  script.ready(20);
  assertEquals(script.log, ["unknown destination", "20 10.0.0.9:4000 127.0.0.1:80"]);
});

Deno.test.each(
  [
    { transparent: "must", setInt: -EPERM, said: "make the socket transparent", is: null },
    { transparent: "try", setInt: -EPERM, said: null, is: false },
    { transparent: "never", setInt: 0, said: null, is: false },
    { transparent: "try", setInt: 0, said: null, is: true },
    { transparent: "must", setInt: 0, said: null, is: true },
  ] as const,
)("NativeListener asked to be transparent ($transparent, setsockopt $setInt)", (
  { transparent, setInt, said, is },
) => {
  const { listening, listener } = new Script({ transparent }, { setInt });
  if (said === null) {
    assertEquals([listening, listener.transparent], [listener, is]);
  } else {
    assertEquals(
      (listening as ProxyError).message,
      `failed to bind to address 127.0.0.1:80: cannot ${said}: Operation not permitted (os error 1)`,
    );
    assertEquals(listener.open, false);
  }
});

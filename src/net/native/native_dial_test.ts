// What a dial asks of the kernel and in which order; what comes of refusals. Real connections: native_network_test.ts.
import { assertEquals } from "@std/assert";
import type { NetError, ProxyError } from "../../base/errors.ts";
import { VirtualClock } from "../../base/virtual_clock.ts";
import type { DialOptions } from "../network.ts";
import {
  EADDRNOTAVAIL,
  ECONNREFUSED,
  EHOSTUNREACH,
  EINPROGRESS,
  EMFILE,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  EPERM,
} from "./errno.ts";
import type { Libc } from "./libc.ts";
import { CountedObjects } from "./live_objects.ts";
import { NativeDial } from "./native_dial.ts";
import type { RawSocket } from "./raw_socket.ts";
import { decodeSocketAddress, encodeSocketAddress } from "./socket_address.ts";
import type { Loop } from "./types.ts";

const DIAL: DialOptions = { timeoutMs: 1000, keepalive: null, sourceIp: null };
const V4 = { ip: "10.1.2.3", port: 80 };
const V6 = { ip: "fd00::3", port: 80 };
const LOCAL = { ip: "10.1.2.4", port: 5000 };
const IPPROTO_OPTIONS = /^set (0|41) /;

interface Answers {
  readonly socket?: number;
  readonly bind?: number;
  readonly connect?: number;
  /** By "LEVEL OPTION". */
  readonly setInt?: Readonly<Record<string, number>>;
}

/** A dial whose calls are noted and answered as scripted. */
class Script {
  readonly clock = new VirtualClock();
  readonly objects = new CountedObjects();
  readonly calls: string[] = [];
  readonly outcomes: (RawSocket | ProxyError)[] = [];
  readonly dial: NativeDial;
  open = 0;
  error = 0;
  watched = false;

  constructor(
    address: typeof V4,
    options: Partial<DialOptions>,
    mark: number | null,
    answers: Answers,
  ) {
    const text = (bytes: Uint8Array, length: number) => decodeSocketAddress(bytes, length).ip;
    const libc = {
      socket: () => answers.socket ?? 7,
      setInt: (_fd: number, level: number, option: number, value: number) => {
        this.calls.push(`set ${level} ${option} ${value}`);
        return answers.setInt?.[`${level} ${option}`] ?? 0;
      },
      bind: (_fd: number, bytes: Uint8Array, length: number) => {
        this.calls.push(`bind ${text(bytes, length)}`);
        return answers.bind ?? 0;
      },
      connect: (_fd: number, bytes: Uint8Array, length: number) => {
        this.calls.push(`connect ${text(bytes, length)}`);
        return answers.connect ?? -EINPROGRESS;
      },
      soError: () => this.error,
      getsockname: (_fd: number, into: Uint8Array) => encodeSocketAddress(LOCAL, into),
      setLinger: () => 0,
      close: () => 0,
    } as unknown as Libc;
    const loop = {
      clock: this.clock,
      watch: () => this.watched = true,
      unwatch: () => this.watched = false,
      nextTurn: () => {},
    } as unknown as Loop;
    const home = {
      libc,
      loop,
      objects: this.objects,
      packetMark: mark,
      onBug: () => {},
      socketOpened: () => void this.open++,
      socketClosed: () => void this.open--,
    };
    this.dial = new NativeDial(
      address,
      { ...DIAL, ...options },
      home,
      (outcome) => void this.outcomes.push(outcome),
    );
  }

  /** The one outcome, an error; asserts that nothing is left. */
  failure(): ProxyError {
    assertEquals(this.outcomes, [], "the answer comes in a later turn");
    this.clock.runUntilIdle();
    assertEquals([this.outcomes.length, this.open, this.clock.pendingTimers], [1, 0, 0]);
    assertEquals([this.objects.counts.size, this.watched], [0, false]);
    return this.outcomes[0] as ProxyError;
  }
}

function start(
  options: Partial<DialOptions> = {},
  { address = V4, mark = null, ...answers }: Answers & {
    address?: typeof V4;
    mark?: number | null;
  } = {},
): Script {
  return new Script(address, options, mark, answers);
}

Deno.test("NativeDial sets the mark before anything is sent, then options, then connects", () => {
  const keepalive = { idleMs: 10_000, intervalMs: 2_000, probes: 5 };
  const { calls } = start({ keepalive, userTimeoutMs: 20_000 }, { mark: 1337 });
  assertEquals(calls, [
    "set 1 36 1337",
    "set 6 1 1",
    "set 1 9 1",
    "set 6 4 10",
    "set 6 5 2",
    "set 6 6 5",
    "set 6 18 20000",
    "connect 10.1.2.3",
  ]);
});

Deno.test.each([
  { name: "IPv4", address: V4, sourceIp: "10.9.9.9", options: ["set 0 19 1", "set 0 15 1"] },
  { name: "IPv6", address: V6, sourceIp: "fd00::9", options: ["set 41 75 1", "set 41 78 1"] },
])("NativeDial spoofs its source over $name: transparent, freebind, port chosen late, bind", (
  { address, sourceIp, options },
) => {
  const { calls } = start({ sourceIp, spoof: true }, { address });
  assertEquals(calls.filter((call) => !call.startsWith("set 6")), [
    ...options,
    "set 0 24 1",
    `bind ${sourceIp}`,
    `connect ${address.ip}`,
  ]);
});

Deno.test("NativeDial spoofs nothing where a pod reaches itself", () => {
  const { calls } = start({ sourceIp: V4.ip, spoof: true });
  assertEquals(calls, ["set 6 1 1", "connect 10.1.2.3"]);
});

Deno.test("NativeDial binds a source of its own without the foreign options", () => {
  const { calls } = start({ sourceIp: "10.1.2.4" });
  assertEquals(calls.filter((call) => IPPROTO_OPTIONS.test(call)), ["set 0 24 1"]);
});

Deno.test.each<{ name: string; answers: Answers; code: string; message: string }>([
  {
    name: "no descriptor",
    answers: { socket: -EMFILE },
    code: "EMFILE",
    message: "Too many open files (os error 24)",
  },
  {
    name: "no descriptor in the system",
    answers: { socket: -ENFILE },
    code: "ENFILE",
    message: "Too many open files in system (os error 23)",
  },
  {
    name: "no memory for a socket",
    answers: { socket: -ENOBUFS },
    code: "ENOBUFS",
    message: "No buffer space available (os error 105)",
  },
  {
    name: "no mark",
    answers: { setInt: { "1 36": -EPERM } },
    code: "EPERM",
    message: "cannot set packet mark 1337: Operation not permitted (os error 1)",
  },
  {
    name: "no transparent socket",
    answers: { setInt: { "0 19": -EPERM } },
    code: "EPERM",
    message: "cannot use the foreign source address 10.9.9.9: Operation not permitted (os error 1)",
  },
  {
    name: "no such source",
    answers: { bind: -EADDRNOTAVAIL },
    code: "EADDRNOTAVAIL",
    message: "cannot bind to 10.9.9.9: Cannot assign requested address (os error 99)",
  },
  {
    name: "no way there",
    answers: { connect: -ENETUNREACH },
    code: "ENETUNREACH",
    message: "Network is unreachable (os error 101)",
  },
])("NativeDial fails in a later turn: $name", ({ answers, code, message }) => {
  const error = start({ sourceIp: "10.9.9.9", spoof: true }, { ...answers, mark: 1337 }).failure();
  assertEquals([error.code, error.message], [code, message]);
});

Deno.test("NativeDial ignores that keepalive and user timeout are refused", () => {
  const keepalive = { idleMs: 10_000, intervalMs: 2_000, probes: 5 };
  const refused = Object.fromEntries(
    ["6 1", "1 9", "6 4", "6 5", "6 6", "6 18"].map((option) => [option, -EPERM]),
  );
  const script = start({ keepalive, userTimeoutMs: 1 }, { setInt: refused });
  assertEquals([script.calls.at(-1), script.watched], ["connect 10.1.2.3", true]);
  script.dial.cancel();
});

Deno.test.each([
  { errno: ECONNREFUSED, code: "ECONNREFUSED" },
  { errno: EHOSTUNREACH, code: "EHOSTUNREACH" },
])("NativeDial fails with what the kernel says of the connect: $code", ({ errno, code }) => {
  const script = start();
  script.error = errno;
  script.dial.onReady(4);
  assertEquals([script.outcomes.length, script.open, script.clock.pendingTimers], [1, 0, 0]);
  assertEquals((script.outcomes[0] as ProxyError).code, code);
});

Deno.test("NativeDial gives the connected socket, unwatched, with its address, once", () => {
  const script = start();
  script.dial.onReady(4);
  script.dial.onReady(4);
  const socket = script.outcomes[0] as RawSocket;
  assertEquals(script.outcomes.length, 1);
  assertEquals([socket.peer, socket.local, socket.watched], [V4, LOCAL, false]);
  assertEquals([script.open, script.clock.pendingTimers], [1, 0]);
});

Deno.test.each([
  { afterMs: 999, outcomes: 0 },
  { afterMs: 1000, outcomes: 1 },
])("NativeDial of 1000 ms has $outcomes outcomes after $afterMs ms", ({ afterMs, outcomes }) => {
  const script = start();
  script.clock.advance(afterMs);
  assertEquals([script.outcomes.length, script.open], [outcomes, 1 - outcomes]);
  if (outcomes === 1) assertEquals((script.outcomes[0] as NetError).code, "DEADLINE_ELAPSED");
  script.dial.cancel();
});

Deno.test("NativeDial that is cancelled says nothing and leaves nothing, whatever becomes of it", () => {
  const script = start();
  script.dial.cancel();
  script.dial.cancel();
  script.dial.onReady(4);
  script.clock.advance(2000);
  assertEquals([script.outcomes.length, script.open, script.watched], [0, 0, false]);
  const failing = start({}, { connect: -ENETUNREACH });
  failing.dial.cancel();
  failing.clock.runUntilIdle();
  assertEquals([failing.outcomes.length, failing.open], [0, 0]);
});

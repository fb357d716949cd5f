import { assert, assertEquals } from "@std/assert";
import type { Clock } from "../base/clock.ts";
import { SystemClock } from "../base/system_clock.ts";
import { CallStream, PIECES_PER_TURN } from "./call_stream.ts";
import type { Answer, Connection } from "./connection.ts";
import { encodeFrame } from "./grpc_frame.ts";

/** A connection whose one answer is these chunks, each there before it is asked for. */
function connectionOf(chunks: Iterable<Uint8Array>): Connection {
  const left = chunks[Symbol.iterator]();
  const answer: Answer = {
    httpStatus: 200,
    header: (name) => name === "content-type" ? "application/grpc" : null,
    read: () => Promise.resolve(left.next().value ?? null),
    trailer: () => null,
    cancel: () => Promise.resolve(),
  };
  return {
    post: () => Promise.resolve(answer),
    probe: () => Promise.resolve(),
    close: () => {},
  };
}

function openCall(clock: Clock, chunks: Iterable<Uint8Array>): CallStream {
  return new CallStream({
    connect: () => Promise.resolve(connectionOf(chunks)),
    path: "/",
    headers: [],
    signal: new AbortController().signal,
    clock,
  });
}

function* octetsOf(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at++) yield bytes.subarray(at, at + 1);
}

Deno.test.each([
  { name: "one message comes octet by octet", messages: 1, bytes: 40_000 },
  { name: "thousands of short messages do", messages: 4_000, bytes: 5 },
])(
  "CallStream lets others have their turn while $name, all of it there",
  async ({ messages, bytes }) => {
    const clock = new SystemClock();
    const message = new Uint8Array(bytes).fill(7);
    const frame = encodeFrame(message);
    const all = new Uint8Array(messages * frame.length);
    for (let at = 0; at < messages; at++) all.set(frame, at * frame.length);
    const call = openCall(clock, octetsOf(all));
    const begunMs = performance.now();
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    for (let left = messages; left > 0; left--) assertEquals((await call.receive())?.length, bytes);
    const tookMs = performance.now() - begunMs;
    clearInterval(timer);
    assert(turns >= tookMs / 50 && turns > 5, `${turns} turns in ${tookMs} ms`);
    assertEquals(await call.receive(), null);
    await call.close();
    assertEquals(clock.waiting, 0);
  },
);

Deno.test.each([
  { name: "not before", messages: PIECES_PER_TURN - 2, turns: 0 },
  { name: "after", messages: PIECES_PER_TURN - 1, turns: 1 },
  { name: "once after", messages: PIECES_PER_TURN, turns: 1 },
])(
  "CallStream gives up its turn $name PIECES_PER_TURN messages and chunks",
  async ({ messages, turns }) => {
    const clock = new SystemClock();
    let given = 0;
    const counting: Clock = {
      nowMs: () => clock.nowMs(),
      wallMs: () => clock.wallMs(),
      soon: (task) => clock.soon(task),
      after: (delayMs, callback) => {
        if (delayMs === 0) given++;
        return clock.after(delayMs, callback);
      },
    };
    const frame = encodeFrame(new Uint8Array(0));
    const all = new Uint8Array(messages * frame.length);
    const call = openCall(counting, [all]); // One chunk: the first piece.
    for (let left = messages; left > 0; left--) await call.receive();
    assertEquals(given, turns);
    await call.close();
  },
);

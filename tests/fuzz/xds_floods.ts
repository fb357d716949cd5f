// What a hostile control plane does for long: endless small responses, the largest that are allowed, streams that end at
// once. Each in real time, with the processor time, the memory and the connections it may cost.
import { assert, assertEquals } from "@std/assert";
import { MESSAGE_BYTES_MAX } from "../../src/xds/grpc_frame.ts";
import { ADDRESS_TYPE } from "../../src/xds/types.ts";
import { concat } from "../support/h2_raw.ts";
import { varint } from "../support/protobuf_bytes.ts";
import { PauseMeter } from "./pauses.ts";
import { responseOf } from "./xds_drawn.ts";
import { Ear } from "./xds_ear.ts";
import { type Act, GRPC_OK, grpcFrame, headers, HostileServer } from "./xds_hostile.ts";
import { readRequest, Subject } from "./xds_round.ts";

const FLOOD_RESPONSES = 50_000;
const FLOOD_RESIDENT_MAX_BYTES = 256 * 2 ** 20;
/** Messages of 200 MiB, one right after the other. */
const GIANTS = 3;
/** One of them, what its room was before it was collected, and what the windows hold. */
const GIANT_RESIDENT_MAX_BYTES = 640 * 2 ** 20;
const GIANT_WITHIN_MS = 60_000;
const MIB = new Uint8Array(2 ** 20);
const LOOK_EVERY_MS = 20;
const BACKOFF_MS = 5_000;
/** Ten routine ends and as many errors between them, each after 10 or 20 ms; then waits double. */
const CONNECTIONS_MAX = 40;
const LATE_CONNECTIONS_MAX = 8;

export interface Cost {
  readonly what: string;
  readonly workMs: number;
  readonly wallMs: number;
  /** Growth of resident memory at its highest. */
  readonly residentBytes: number;
}

interface Scene {
  readonly server: HostileServer;
  readonly ear: Ear;
  readonly meter: PauseMeter;
  readonly subject: Subject;
}

async function play(
  what: string,
  options: { readonly isHasty: boolean },
  run: (scene: Scene) => Promise<void>,
): Promise<Cost> {
  const ear = new Ear();
  await using server = await HostileServer.start((event) => ear.hear(event));
  const meter = new PauseMeter();
  const before = Deno.memoryUsage().rss;
  let residentBytes = 0;
  const watch = setInterval(() => {
    residentBytes = Math.max(residentBytes, Deno.memoryUsage().rss - before);
  }, LOOK_EVERY_MS);
  const subject = new Subject(server.address, (own) => meter.own(own), options);
  try {
    await run({ server, ear, meter, subject });
  } finally {
    clearInterval(watch);
    meter.stop();
    await subject.stop();
  }
  await ear.until(() => ear.ended === ear.opened, "connections stay open");
  return { what, workMs: meter.workMaxMs, wallMs: meter.wallMaxMs, residentBytes };
}

/** Every response gets its answer, in order, however fast they come. */
export async function flood(): Promise<Cost> {
  const cost = await play("flood", { isHasty: true }, async ({ server, ear }) => {
    const { connection, stream } = await ear.nextCall();
    const each = 500;
    const one = grpcFrame(responseOf({ typeUrl: ADDRESS_TYPE, nonce: "f" }));
    const bytes = concat(...Array<Uint8Array>(each).fill(one));
    server.act(connection, headers(stream, GRPC_OK), {
      kind: "data",
      stream,
      bytes,
      times: FLOOD_RESPONSES / each,
    });
    await ear.until(() => ear.messages.length >= 2 + FLOOD_RESPONSES, "no reply");
    assertEquals(ear.messages.length, 2 + FLOOD_RESPONSES);
    assertEquals(readRequest(ear.messages.at(-1)!)["nonce"], "f");
  });
  assert(cost.residentBytes <= FLOOD_RESIDENT_MAX_BYTES, `${cost.residentBytes} octets`);
  return cost;
}

/** One message of 200 MiB at a time, and no more. */
export async function giants(): Promise<Cost> {
  const cost = await play("giants", { isHasty: true }, async ({ server, ear }) => {
    const { connection, stream } = await ear.nextCall();
    const head = responseOf({ typeUrl: ADDRESS_TYPE, nonce: "g" });
    const acts: Act[] = [headers(stream, GRPC_OK)];
    for (let left = GIANTS; left > 0; left--) {
      // A field that nobody knows fills it up.
      const filler = MESSAGE_BYTES_MAX - head.length - 5;
      const tag = Uint8Array.from([15 << 3 | 2, ...varint(filler)]);
      assertEquals(tag.length, 5);
      const start = grpcFrame(concat(head, tag), { length: MESSAGE_BYTES_MAX });
      acts.push({ kind: "data", stream, bytes: start });
      const whole = Math.floor(filler / MIB.length);
      acts.push({ kind: "data", stream, bytes: MIB, times: whole });
      acts.push({ kind: "data", stream, bytes: MIB.subarray(0, filler - whole * MIB.length) });
    }
    server.act(connection, ...acts);
    await ear.until(() => ear.messages.length >= 2 + GIANTS, "no reply", GIANT_WITHIN_MS);
    for (const message of ear.messages.slice(2)) {
      const { nonce, error } = readRequest(message);
      assertEquals([nonce, error], ["g", undefined]);
    }
  });
  assert(cost.residentBytes <= GIANT_RESIDENT_MAX_BYTES, `${cost.residentBytes} octets`);
  return cost;
}

/** A server that ends every stream, in one way after the other, is not asked again and again. */
export async function backoff(): Promise<Cost> {
  return await play("back-off", { isHasty: false }, async ({ server, ear }) => {
    const ends: readonly ((stream: number) => readonly Act[])[] = [
      (stream) => [headers(stream, [...GRPC_OK, "grpc-status: 14"], 1)],
      (stream) => [headers(stream, GRPC_OK), headers(stream, ["grpc-status: 0"], 1)],
      () => [{ kind: "close" }],
      (stream) => [headers(stream, GRPC_OK), { kind: "wait", ms: 1 }, { kind: "close" }],
    ];
    const opened: number[] = [];
    const deadline = performance.now() + BACKOFF_MS;
    while (performance.now() < deadline) {
      if (ear.calls.length === 0) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        continue;
      }
      const { connection, stream } = await ear.nextCall();
      server.act(connection, ...ends[opened.length % ends.length]!(stream));
      opened.push(performance.now());
    }
    assert(opened.length >= 8, `${opened.length} streams`);
    assert(opened.length <= CONNECTIONS_MAX, `${opened.length} streams`);
    const late = opened.filter((at) => at >= deadline - BACKOFF_MS / 2).length;
    assert(late <= LATE_CONNECTIONS_MAX, `${late} streams in the second half`);
  });
}

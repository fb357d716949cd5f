// Every way in which a server may refuse a call, or end one: octets, and then silence or the end of TCP.
import { FRAME } from "../../src/h2/frame_header.ts";
import { concat, data, frame, goAway, reset, settings, windowUpdate } from "../support/h2_raw.ts";
import { MESSAGE_BYTES_MAX } from "../../src/xds/grpc_frame.ts";
import type { Drawer } from "./xds_drawn.ts";
import { type Act, GRPC_OK, grpcFrame, headerBlock, headers } from "./xds_hostile.ts";

/** @param stream The call's. */
export type Ending = (drawer: Drawer, stream: number) => readonly Act[];

const END = 1;
const KIB = new Uint8Array(1024);
const CLOSE: Act = { kind: "close" };

/** Until the client has read what came before; what it did is looked at afterwards. */
function wait(ms: number): Act {
  return { kind: "wait", ms };
}

function raw(bytes: Uint8Array, times = 1): Act {
  return { kind: "raw", bytes, times };
}

function piece(stream: number, bytes: Uint8Array, times = 1): Act {
  return { kind: "data", stream, bytes, times };
}

function trailers(stream: number, ...lines: readonly string[]): Act {
  return headers(stream, lines, END);
}

/** An answer that no gRPC server gives. */
function refusal(...lines: readonly string[]): Ending {
  return (_, stream) => [headers(stream, lines, END), wait(5), CLOSE];
}

/** A call that is refused. */
export const REFUSALS: Readonly<Record<string, Ending>> = {
  unavailable: refusal(":status: 503"),
  notFound: refusal(":status: 404", "content-type: text/html"),
  redirect: refusal(":status: 302", "location: http://127.0.0.1:1/"),
  noContentType: refusal(":status: 200"),
  html: refusal(":status: 200", "content-type: text/html"),
  unauthenticated: refusal(...GRPC_OK, "grpc-status: 16", "grpc-message: authentication failure"),
  oddStatus: (drawer, stream) => [
    trailers(
      stream,
      ...GRPC_OK,
      `grpc-status: ${drawer.of(["99", "-1", "abc", "1e1", "0x0", "17"])}`,
      `grpc-message: ${drawer.of(["%", "%zz", "%0A%0D%1b[31m", "%ff%fe", "x".repeat(9_000)])}`,
    ),
    wait(5),
    CLOSE,
  ],
  closed: () => [CLOSE],
  silence: () => [wait(50), CLOSE],
  manyInformations: (_, stream) => [
    raw(frame(FRAME.HEADERS, 4, stream, headerBlock([":status: 103", "link: <x>"])), 2_000),
    wait(10),
    CLOSE,
  ],
  largeHeaders: (_, stream) => [
    headers(stream, [...GRPC_OK, `x: ${"y".repeat(15_000)}`]),
    wait(10),
    CLOSE,
  ],
  endlessHeaders: (_, stream) => [
    raw(frame(FRAME.HEADERS, 0, stream, headerBlock(GRPC_OK))),
    raw(frame(FRAME.CONTINUATION, 0, stream, headerBlock([`x: ${"y".repeat(10_000)}`])), 500),
    wait(10),
    CLOSE,
  ],
  garbage: (drawer) => [raw(drawer.bytes(200)), wait(5), CLOSE],
  packed: (drawer, stream) => [
    headers(stream, [...GRPC_OK, `content-encoding: ${drawer.of(["gzip", "br", "deflate"])}`]),
    piece(stream, drawer.bytes(200)),
    wait(5),
    CLOSE,
  ],
};

/** A call that was taken. */
export const ENDINGS: Readonly<Record<string, Ending>> = {
  ok: (_, stream) => [trailers(stream, "grpc-status: 0"), wait(20), CLOSE],
  status: (drawer, stream) => [
    trailers(
      stream,
      `grpc-status: ${drawer.below(18)}`,
      "grpc-message: transport is closing %0Aa\tb",
    ),
    wait(20),
    CLOSE,
  ],
  noStatus: (_, stream) => [raw(data(stream, "", END)), wait(20), CLOSE],
  truncated: (drawer, stream) => [
    piece(stream, grpcFrame(drawer.bytes(50)).slice(0, 1 + drawer.below(54))),
    raw(data(stream, "", END)),
    wait(20),
    CLOSE,
  ],
  compressed: (drawer, stream) => [
    piece(stream, grpcFrame(drawer.bytes(9), { flag: 1 + drawer.below(255) })),
    wait(20),
    CLOSE,
  ],
  tooLarge: (drawer, stream) => [
    piece(
      stream,
      grpcFrame(KIB, { length: drawer.of([MESSAGE_BYTES_MAX + 1, 2 ** 31, 2 ** 32 - 1]) }),
    ),
    wait(20),
    CLOSE,
  ],
  giantDeclared: (drawer, stream) => [
    piece(stream, grpcFrame(KIB, { length: MESSAGE_BYTES_MAX - drawer.below(2) })),
    wait(20),
    CLOSE,
  ],
  halfThenSilence: (drawer, stream) => [
    piece(stream, grpcFrame(drawer.bytes(20), { length: 1_000 })),
    wait(100),
    CLOSE,
  ],
  halfThenReset: (drawer, stream) => [
    piece(stream, grpcFrame(drawer.bytes(20), { length: 1_000 })),
    raw(reset(stream, drawer.below(16))),
    wait(20),
    CLOSE,
  ],
  reset: (drawer, stream) => [raw(reset(stream, drawer.below(16))), wait(20), CLOSE],
  goAway: (drawer, stream) => [
    raw(goAway(drawer.of([0, stream, 2 ** 31 - 1]), drawer.below(14), "max_age")),
    wait(drawer.of([0, 30])),
    CLOSE,
  ],
  closed: () => [CLOSE],
  unreadable: (drawer, stream) => [
    piece(stream, grpcFrame(drawer.of([Uint8Array.of(0), Uint8Array.of(0x12, 0x7f), KIB]))),
    wait(20),
    CLOSE,
  ],
  /** Framing that is no HTTP/2. */
  garbage: (drawer) => [raw(drawer.bytes(100)), wait(20), CLOSE],
  strangeFrames: (drawer, stream) => [
    ...Array.from({ length: 20 }, () =>
      raw(frame(
        drawer.below(12),
        drawer.below(256),
        drawer.of([0, stream, stream + 2, 7]),
        drawer.bytes(drawer.below(20)),
      ))),
    wait(20),
    CLOSE,
  ],
  outsideWindow: (_, stream) => [
    raw(data(stream, new Uint8Array(16_384).fill(0xff)), 1_000),
    wait(20),
    CLOSE,
  ],
  pings: (_) => [raw(frame(FRAME.PING, 0, 0, "12345678"), 5_000), wait(20), CLOSE],
  settings: () => [raw(settings([3, 1], [4, 65_535]), 2_000), wait(20), CLOSE],
  windowUpdates: (_, stream) => [raw(windowUpdate(stream, 1), 5_000), wait(20), CLOSE],
  emptyData: (
    _,
    stream,
  ) => [raw(concat(...Array(500).fill(data(stream, ""))), 20), wait(20), CLOSE],
  pushPromise: (_, stream) => [
    raw(
      frame(FRAME.PUSH_PROMISE, 4, stream, concat(Uint8Array.of(0, 0, 0, 2), headerBlock(GRPC_OK))),
    ),
    wait(20),
    CLOSE,
  ],
  lateHeaders: (_, stream) => [headers(stream, GRPC_OK), wait(20), CLOSE],
  /** The peer is there and says nothing any more. */
  dead: () => [{ kind: "mute" }, wait(2_500), CLOSE],
};

// The rules of `Channel` (src/base/channel.ts) as one suite that runs on every kind of channel.
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { adoptBlock, type Block } from "../../src/base/block.ts";
import type { Channel, ChannelHandler } from "../../src/base/channel.ts";
import { NetError, type ProxyError } from "../../src/base/errors.ts";

/** Two connected ends and the hand that lets time pass. */
export interface ChannelPair {
  readonly a: Channel;
  readonly b: Channel;
  /**
   * Lets the loop run until `condition` holds; throws, or gives up and returns, when it never does. Synchronous on a
   * virtual clock, a promise on real sockets.
   */
  drive(condition: () => boolean): void | Promise<void>;
  /** Lets the loop run long enough for anything that is still going to happen. */
  settle(): void | Promise<void>;
  /** Frees what the pair used: listeners, sockets, timers. Both channels are over or reset by then. */
  dispose(): void | Promise<void>;
}

export interface ChannelContractOptions {
  /** Octets that may be under way before a write answers false, with room to spare. Default 16 MiB. */
  readonly underWayBytesMax?: number;
  /** Rules that this kind of channel cannot keep; each needs a reason beside the call. */
  readonly except?: readonly ContractRule[];
}

interface RunOptions {
  readonly underWayBytesMax: number;
}

/** Notes everything it hears; checks the rules that hold at every moment. */
export class NotingHandler implements ChannelHandler {
  readonly channel: Channel;
  readonly pieces: Uint8Array[] = [];
  bytes = 0;
  ends = 0;
  writables = 0;
  closes = 0;
  closeError: ProxyError | null = null;
  /** Called inside each callback, after it was noted. */
  hook: ((event: "data" | "end" | "writable" | "close") => void) | null = null;
  /** True while the owner makes a call: a callback then breaks the contract. */
  static calling = 0;
  #inside = false;

  constructor(channel: Channel) {
    this.channel = channel;
  }

  onData(block: Block, start: number, end: number): void {
    this.#enter();
    assert(end > start, "onData() brings at least one byte");
    assert(block.references > 0, "the block is lent during the call");
    assertEquals(this.ends, 0, "no data after the end");
    this.pieces.push(block.bytes.slice(start, end));
    this.bytes += end - start;
    this.#leave("data");
  }

  onEnd(): void {
    this.#enter();
    this.ends++;
    this.#leave("end");
  }

  onWritable(): void {
    this.#enter();
    this.writables++;
    this.#leave("writable");
  }

  onClose(error: ProxyError | null): void {
    this.#enter();
    assert(this.channel.closed, "closed is true when onClose() is called");
    this.closes++;
    this.closeError = error;
    this.#leave("close");
  }

  /** Everything heard, in one piece. */
  get received(): Uint8Array {
    const all = new Uint8Array(this.bytes);
    let offset = 0;
    for (const piece of this.pieces) {
      all.set(piece, offset);
      offset += piece.length;
    }
    return all;
  }

  #enter(): void {
    assertEquals(NotingHandler.calling, 0, "no callback from inside a call of the owner");
    assert(!this.#inside, "callbacks come one at a time");
    assertEquals(this.closes, 0, "nothing follows onClose()");
    this.#inside = true;
  }

  #leave(event: "data" | "end" | "writable" | "close"): void {
    try {
      this.hook?.(event);
    } finally {
      this.#inside = false;
    }
  }
}

/** Makes a call on a channel and fails if a callback comes from inside it. */
function call<Value>(make: () => Value): Value {
  NotingHandler.calling++;
  try {
    return make();
  } finally {
    NotingHandler.calling--;
  }
}

function attached(channel: Channel): NotingHandler {
  const handler = new NotingHandler(channel);
  call(() => channel.attach(handler));
  return handler;
}

/** Octets that tell where they belong. */
export function patternBytes(length: number, start = 0): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) {
    const at = start + index;
    bytes[index] = (at * 31 + (at >> 8) * 7 + (at >> 16)) & 0xff;
  }
  return bytes;
}

/** Writes a copy of `bytes`, as a block that the caller has let go of. */
function write(channel: Channel, bytes: Uint8Array): boolean {
  const block = adoptBlock(bytes.slice());
  const more = call(() => channel.write(block, 0, bytes.length));
  block.release();
  return more;
}

function assertSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length, "octets received");
  for (let index = 0; index < actual.length; index++) {
    if (actual[index] !== expected[index]) {
      assertEquals(actual[index], expected[index], `octet ${index}`);
    }
  }
}

/** Ends both directions in order, and waits for it. */
async function finish(pair: ChannelPair, a: NotingHandler, b: NotingHandler): Promise<void> {
  call(() => pair.a.endWrite());
  call(() => pair.b.endWrite());
  await pair.drive(() => a.closes === 1 && b.closes === 1);
}

/** The rules, each a test of its own. */
const RULES = {
  "keeps bytes sent before attach() and delivers none before it": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    write(pair.a, patternBytes(1000));
    await pair.settle();
    const b = attached(pair.b);
    assertEquals(b.bytes, 0);
    await pair.drive(() => b.bytes === 1000);
    assertSameBytes(b.received, patternBytes(1000));
    await finish(pair, a, b);
    assertEquals([a.closeError, b.closeError], [null, null]);
  },

  "carries bytes both ways at once, in order and unaltered": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    const total = 300_000;
    for (let sent = 0, size = 1; sent < total; size = size * 2 % 40_009) {
      const bytes = patternBytes(Math.min(size, total - sent), sent);
      write(pair.a, bytes);
      write(pair.b, bytes);
      sent += bytes.length;
    }
    await pair.drive(() => a.bytes === total && b.bytes === total);
    assertSameBytes(a.received, patternBytes(total));
    assertSameBytes(b.received, patternBytes(total));
    await finish(pair, a, b);
  },

  "carries ten thousand writes of one byte": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    const bytes = patternBytes(10_000);
    const block = adoptBlock(bytes);
    for (let index = 0; index < bytes.length; index++) {
      call(() => pair.a.write(block, index, index + 1));
    }
    block.release();
    await pair.drive(() => b.bytes === bytes.length);
    assertSameBytes(b.received, bytes);
    await finish(pair, a, b);
  },

  "writes exactly the range, and nothing for an empty one": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    const block = adoptBlock(patternBytes(100));
    call(() => pair.a.write(block, 50, 50));
    call(() => pair.a.write(block, 10, 20));
    call(() => pair.a.write(block, 100, 100));
    block.release();
    await pair.drive(() => b.bytes === 10);
    await pair.settle();
    assertSameBytes(b.received, patternBytes(10, 10));
    await finish(pair, a, b);
  },

  "pause() inside onData() stops at once, resume() delivers in a later turn": async (
    pair: ChannelPair,
  ) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    b.hook = (event) => {
      if (event === "data") call(() => pair.b.pause());
    };
    for (let index = 0; index < 10; index++) write(pair.a, patternBytes(20_000, index * 20_000));
    while (b.bytes < 200_000) {
      const before = b.bytes;
      call(() => pair.b.resume());
      assertEquals(b.bytes, before);
      await pair.drive(() => b.bytes > before);
      const once = b.bytes;
      await pair.settle();
      assertEquals(b.bytes, once, "nothing while paused");
    }
    assertSameBytes(b.received, patternBytes(200_000));
    b.hook = null;
    call(() => pair.b.resume());
    await finish(pair, a, b);
  },

  "holds onEnd() back while paused": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    call(() => pair.b.pause());
    write(pair.a, patternBytes(10));
    call(() => pair.a.endWrite());
    await pair.settle();
    assertEquals([b.bytes, b.ends, b.closes], [0, 0, 0]);
    call(() => pair.b.resume());
    await pair.drive(() => b.ends === 1);
    assertEquals(b.bytes, 10);
    call(() => pair.b.endWrite());
    await pair.drive(() => a.closes === 1 && b.closes === 1);
  },

  "write() answers false when the reader does not read, and onWritable() tells when it did": async (
    pair: ChannelPair,
    { underWayBytesMax }: RunOptions,
  ) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    call(() => pair.b.pause());
    const piece = patternBytes(16_384);
    let sent = 0;
    // Three refusals in a row, with time in between: nothing more is taken off our hands.
    for (let refusals = 0; refusals < 3;) {
      assert(sent <= underWayBytesMax, `${sent} octets went out and nobody read`);
      const more = write(pair.a, piece);
      sent += piece.length;
      if (more) continue;
      const writables = a.writables;
      await pair.settle();
      refusals = a.writables > writables ? 0 : refusals + 1;
    }
    const before = a.writables;
    call(() => pair.b.resume());
    await pair.drive(() => b.bytes === sent && a.writables > before);
    assertEquals(a.writables, before + 1, "one onWritable() for a false");
    assertSameBytes(b.received.subarray(sent - piece.length), piece);
    await finish(pair, a, b);
  },

  "calls onWritable() only after a false": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    let refused = 0;
    for (let index = 0; index < 50; index++) {
      if (!write(pair.a, patternBytes(100))) refused++;
      await pair.drive(() => b.bytes === (index + 1) * 100);
    }
    await pair.settle();
    assert(a.writables <= refused, `${a.writables} onWritable() for ${refused} refusals`);
    await finish(pair, a, b);
  },

  "lets go of every block it was given": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    call(() => pair.b.pause());
    const blocks = Array.from(
      { length: 40 },
      (_, index) => adoptBlock(patternBytes(20_000, index)),
    );
    for (const block of blocks) call(() => pair.a.write(block, 0, block.bytes.length));
    call(() => pair.b.resume());
    await pair.drive(() => b.bytes === 800_000);
    await finish(pair, a, b);
    assertEquals(blocks.map((block) => block.references), blocks.map(() => 1));
  },

  "lets go of every block when reset under it": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    call(() => pair.b.pause());
    const blocks = Array.from(
      { length: 40 },
      (_, index) => adoptBlock(patternBytes(20_000, index)),
    );
    for (const block of blocks) call(() => pair.a.write(block, 0, block.bytes.length));
    call(() => pair.a.reset(null));
    call(() => pair.b.resume());
    await pair.drive(() => a.closes === 1 && b.closes === 1);
    await pair.settle();
    assertEquals(blocks.map((block) => block.references), blocks.map(() => 1));
  },

  "does not touch a delivered range while the block is kept": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    const kept: { block: Block; start: number; end: number; copy: Uint8Array }[] = [];
    const keep: ChannelHandler = {
      onData(block, start, end) {
        block.retain();
        kept.push({ block, start, end, copy: block.bytes.slice(start, end) });
        b.onData(block, start, end);
      },
      onEnd: () => b.onEnd(),
      onWritable: () => b.onWritable(),
      onClose: (error) => b.onClose(error),
    };
    call(() => pair.b.attach(keep));
    for (let index = 0; index < 30; index++) {
      write(pair.a, patternBytes(5000, index * 5000));
      await pair.drive(() => b.bytes === (index + 1) * 5000);
    }
    for (const { block, start, end, copy } of kept) {
      assertSameBytes(block.bytes.subarray(start, end), copy);
      block.release();
    }
    await finish(pair, a, b);
  },

  "ends one direction and carries on with the other": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    write(pair.a, patternBytes(100_000));
    call(() => pair.a.endWrite());
    await pair.drive(() => b.ends === 1);
    assertEquals([b.bytes, b.closes, a.closes], [100_000, 0, 0]);
    write(pair.b, patternBytes(100_000));
    await pair.drive(() => a.bytes === 100_000);
    assertEquals([a.ends, a.closes], [0, 0]);
    call(() => pair.b.endWrite());
    await pair.drive(() => a.closes === 1 && b.closes === 1);
    assertEquals([a.ends, b.ends, a.closeError, b.closeError], [1, 1, null, null]);
  },

  "closes in order when both end at once with bytes under way": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    write(pair.a, patternBytes(50_000));
    write(pair.b, patternBytes(60_000));
    await finish(pair, a, b);
    assertEquals([a.bytes, b.bytes, a.ends, b.ends], [60_000, 50_000, 1, 1]);
    assertEquals([a.closeError, b.closeError, pair.a.closed, pair.b.closed], [
      null,
      null,
      true,
      true,
    ]);
  },

  "sends nothing after endWrite(), which may be repeated": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    write(pair.a, patternBytes(5));
    call(() => pair.a.endWrite());
    call(() => pair.a.endWrite());
    write(pair.a, patternBytes(7));
    await pair.drive(() => b.ends === 1);
    await pair.settle();
    assertEquals([b.bytes, b.ends], [5, 1]);
    await finish(pair, a, b);
    assertEquals([a.closeError, b.closeError], [null, null]);
  },

  "reset() is closed at once, tells its own reason later and the peer an error": async (
    pair: ChannelPair,
  ) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    const reason = new NetError("CANCELLED", { message: "the test wants it so" });
    assertEquals(pair.a.closed, false);
    call(() => pair.a.reset(reason));
    assertEquals([pair.a.closed, a.closes], [true, 0]);
    await pair.drive(() => a.closes === 1 && b.closes === 1);
    assert(a.closeError === reason, `own close says ${a.closeError}`);
    assertNotEquals(b.closeError, null);
    assertEquals(pair.b.closed, true);
  },

  "reset(null) closes with null here and an error at the peer": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    call(() => pair.b.reset(null));
    await pair.drive(() => a.closes === 1 && b.closes === 1);
    assertEquals(b.closeError, null);
    assertNotEquals(a.closeError, null);
  },

  "reset() after bytes from the peer stops their delivery": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    b.hook = (event) => {
      if (event === "data") call(() => pair.b.reset(null));
    };
    for (let index = 0; index < 20; index++) write(pair.a, patternBytes(10_000));
    await pair.drive(() => a.closes === 1 && b.closes === 1);
    await pair.settle();
    assertEquals(b.pieces.length, 1);
    assertEquals(b.ends, 0);
  },

  "keeps the first reason, and does nothing when it is over": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    const first = new NetError("CANCELLED");
    call(() => pair.a.reset(first));
    call(() => pair.a.reset(new NetError("EPIPE")));
    write(pair.a, patternBytes(10));
    call(() => pair.a.endWrite());
    call(() => pair.a.pause());
    call(() => pair.a.resume());
    await pair.drive(() => a.closes === 1 && b.closes === 1);
    await pair.settle();
    assert(a.closeError === first);
    write(pair.a, patternBytes(10));
    call(() => pair.a.endWrite());
    call(() => pair.a.reset(null));
    call(() => pair.a.resume());
    await pair.settle();
    assertEquals([a.closes, b.closes, b.bytes], [1, 1, 0]);
  },

  "tells its end to a handler attached after it": async (pair: ChannelPair) => {
    const b = attached(pair.b);
    call(() => pair.a.reset(null));
    await pair.drive(() => b.closes === 1);
    const a = attached(pair.a);
    assertEquals(a.closes, 0);
    await pair.drive(() => a.closes === 1);
    assertEquals(a.closeError, null);
  },

  "tells the peer's end and bytes to a handler attached after them": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    write(pair.a, patternBytes(3000));
    call(() => pair.a.endWrite());
    await pair.settle();
    const b = attached(pair.b);
    await pair.drive(() => b.ends === 1);
    assertEquals(b.bytes, 3000);
    call(() => pair.b.endWrite());
    await pair.drive(() => a.closes === 1 && b.closes === 1);
  },

  "moves to another handler without loss or repetition": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const first = attached(pair.b);
    const second = new NotingHandler(pair.b);
    first.hook = (event) => {
      if (event === "data") call(() => pair.b.attach(second));
    };
    for (let index = 0; index < 20; index++) write(pair.a, patternBytes(10_000, index * 10_000));
    await pair.drive(() => first.bytes + second.bytes === 200_000);
    assertEquals(first.pieces.length, 1);
    const all = new Uint8Array(200_000);
    all.set(first.received);
    all.set(second.received, first.bytes);
    assertSameBytes(all, patternBytes(200_000));
    await finish(pair, a, second);
    assertEquals([first.ends, first.closes, second.ends], [0, 0, 1]);
  },

  "moves to another handler while paused": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const first = attached(pair.b);
    call(() => pair.b.pause());
    write(pair.a, patternBytes(100));
    await pair.settle();
    const second = attached(pair.b);
    await pair.settle();
    assertEquals([first.bytes, second.bytes], [0, 0]);
    call(() => pair.b.resume());
    await pair.drive(() => second.bytes === 100);
    assertEquals(first.bytes, 0);
    await finish(pair, a, second);
  },

  "answers from inside onData() and ends from inside onEnd()": async (pair: ChannelPair) => {
    const a = attached(pair.a);
    const b = attached(pair.b);
    b.hook = (event) => {
      if (event === "data") write(pair.b, b.pieces.at(-1)!);
      if (event === "end") call(() => pair.b.endWrite());
    };
    write(pair.a, patternBytes(70_000));
    call(() => pair.a.endWrite());
    await pair.drive(() => a.closes === 1 && b.closes === 1);
    assertSameBytes(a.received, patternBytes(70_000));
    assertEquals([a.closeError, b.closeError], [null, null]);
  },

  "knows both addresses": (pair: ChannelPair) => {
    assertEquals(pair.a.peer, pair.b.local);
    assertEquals(pair.b.peer, pair.a.local);
    call(() => pair.a.reset(null));
    call(() => pair.b.reset(null));
  },
} as const satisfies Record<
  string,
  (pair: ChannelPair, options: RunOptions) => void | Promise<void>
>;

export type ContractRule = keyof typeof RULES;

/**
 * Registers one test per rule. `makePair` gives two fresh connected channels that nobody has attached to.
 */
export function channelContract(
  name: string,
  makePair: () => ChannelPair | Promise<ChannelPair>,
  options: ChannelContractOptions = {},
): void {
  const { underWayBytesMax = 16 * 1024 * 1024, except = [] } = options;
  for (const rule of Object.keys(RULES) as ContractRule[]) {
    if (except.includes(rule)) continue;
    Deno.test(`${name} ${rule}`, async () => {
      const pair = await makePair();
      try {
        await RULES[rule](pair, { underWayBytesMax });
      } finally {
        if (!pair.a.closed) pair.a.reset(null);
        if (!pair.b.closed) pair.b.reset(null);
        await pair.settle();
        await pair.dispose();
      }
    });
  }
}

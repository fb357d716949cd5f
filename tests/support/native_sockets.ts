// The native network on loopback, turned inside the test's own isolate; nothing native may be left at the end.
import { assertEquals } from "@std/assert";
import { Libc } from "../../src/net/native/libc.ts";
import { CountedObjects } from "../../src/net/native/live_objects.ts";
import { NativeLoop } from "../../src/net/native/loop.ts";
import {
  NativeNetwork,
  type NativeNetworkOptions,
  type TlsSessions,
} from "../../src/net/native/native_network.ts";
import { LoopPump } from "./native_loop_pump.ts";
import { Loopback } from "./real_sockets.ts";

export interface NativeLoopbackOptions
  extends Partial<Omit<NativeNetworkOptions, "libc" | "loop" | "objects" | "tls">> {
  /** Makes the TLS engine, and says how to close it. */
  readonly tls?: (
    parts: {
      libc: Libc;
      loop: NativeLoop;
      objects: CountedObjects;
      onBug: (thrown: unknown) => void;
    },
  ) => TlsSessions & { close(): void };
}

/** {@link Loopback} on descriptors. Disposing asserts that every native object was freed. */
export class NativeLoopback extends Loopback<NativeNetwork> {
  readonly libc: Libc;
  readonly loop: NativeLoop;
  readonly objects: CountedObjects;
  readonly bugs: unknown[];
  readonly #pump: LoopPump;
  readonly #tls: { close(): void } | null;

  constructor(options: NativeLoopbackOptions = {}) {
    const { tls: makeTls, ...rest } = options;
    const libc = Libc.open();
    const objects = new CountedObjects();
    const bugs: unknown[] = [];
    const onBug = rest.onBug ?? ((thrown: unknown) => void bugs.push(thrown));
    const loop = new NativeLoop({ libc, objects, onBug });
    const tls = makeTls?.({ libc, loop, objects, onBug }) ?? null;
    super(
      new NativeNetwork({
        libc,
        loop,
        objects,
        tls,
        packetMark: null,
        markListeners: false,
        reusePort: false,
        ...rest,
        onBug,
      }),
    );
    this.libc = libc;
    this.loop = loop;
    this.objects = objects;
    this.bugs = bugs;
    this.#tls = tls;
    this.#pump = new LoopPump(loop);
  }

  get timersWaiting(): number {
    return this.loop.timersWaiting;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    try {
      await super[Symbol.asyncDispose]();
    } finally {
      this.#pump[Symbol.dispose]();
    }
    this.network.close();
    this.#tls?.close();
    this.loop.close();
    this.libc[Symbol.dispose]();
    assertEquals([...this.objects.counts], [], "native objects alive");
    assertEquals(this.network.blocksLent, 0, "blocks lent");
    assertEquals(this.bugs, []);
  }
}

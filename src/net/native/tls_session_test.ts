// Late handshake messages by a clock of our own: how many are let in, and when that is forgotten.
import { assertEquals } from "@std/assert";
import { CountedObjects } from "./live_objects.ts";
import type { OpenSsl, Pointer } from "./openssl.ts";
import type { TlsCallbacks } from "./tls_callbacks.ts";
import { LATE_MESSAGES_MAX, LATE_WINDOW_MS, TlsSession } from "./tls_session.ts";

/** A session of a library that only notes when it is told to stop reading. */
class Script {
  nowMs = 1_000;
  stops = 0;
  readonly session: TlsSession;

  constructor() {
    const objects = new CountedObjects();
    const openssl = {
      objects,
      made: (kind: string, pointer: Pointer) => {
        objects.made(kind);
        return pointer;
      },
      ssl: {
        SSL_new: () => ({}),
        SSL_set_accept_state() {},
        SSL_set_shutdown: () => void this.stops++,
      },
    } as unknown as OpenSsl;
    this.session = new TlsSession({} as Pointer, {
      role: "server",
      check: { rootsDer: [], peer: { role: "client", trustDomain: null } },
      shared: { openssl, callbacks: {} as TlsCallbacks, nowMs: () => this.nowMs },
    });
  }

  send(messages: number): void {
    for (let sent = 0; sent < messages; sent++) this.session.lateMessage();
  }
}

Deno.test.each([
  { messages: LATE_MESSAGES_MAX - 1, stops: 0 },
  { messages: LATE_MESSAGES_MAX, stops: 0 },
  { messages: LATE_MESSAGES_MAX + 1, stops: 1 },
  { messages: LATE_MESSAGES_MAX + 100, stops: 1 },
])("$messages late messages stop a session $stops times (LATE_MESSAGES_MAX)", (row) => {
  const script = new Script();
  script.send(row.messages);
  assertEquals(script.stops, row.stops);
});

Deno.test.each([
  { afterMs: LATE_WINDOW_MS - 1, stops: 1 },
  { afterMs: LATE_WINDOW_MS, stops: 0 },
])("late messages are forgotten LATE_WINDOW_MS after the first: one more after $afterMs ms", (
  { afterMs, stops },
) => {
  const script = new Script();
  script.send(LATE_MESSAGES_MAX);
  script.nowMs += afterMs;
  script.send(1);
  assertEquals(script.stops, stops);
  script.nowMs += LATE_WINDOW_MS;
  script.send(LATE_MESSAGES_MAX);
  assertEquals(script.stops, stops);
});

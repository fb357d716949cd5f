// Every message that the data plane sends is read; anything else is refused, without showing what it was.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { SeededRandom } from "../base/random.ts";
import { MessageError } from "./errors.ts";
import { checkMessage } from "./message_check.ts";
import type { FromDataPlane } from "./messages.ts";

const LOCAL = { namespace: "default", name: "client", serviceAccount: "client" };
const ADDRESS = { ip: "10.0.0.1", port: 65_535 };
const ERROR = { name: "BindError", code: "EADDRINUSE", message: "in use", route: false };
const STATS = { connections: 1, timers: 2 };

/** One of each kind, and each question. */
const MESSAGES: readonly FromDataPlane[] = [
  { kind: "opened", wakeFd: 12, info: { openssl: "OpenSSL 3", fips: null, policy: "pqc" } },
  { kind: "failed", code: "NATIVE_START", message: "no library" },
  {
    kind: "planeOpened",
    plane: 1,
    listeners: {
      inbound: { address: ADDRESS, transparent: false },
      inboundPlaintext: null,
      outbound: { address: { ip: "::1", port: 0 }, transparent: true },
      socks5: null,
    },
  },
  { kind: "planeFailed", plane: 1, error: ERROR },
  { kind: "planeEnded", plane: 1 },
  { kind: "stats", request: 1, stats: STATS as never },
  { kind: "revoked", counts: { source: 1, destination: 0 } },
  { kind: "gone", request: 1 },
  { kind: "certificateWanted", plane: 1 },
  { kind: "ask", router: 1, question: 1, about: { kind: "localWorkload", local: LOCAL } },
  {
    kind: "ask",
    router: 1,
    question: 2,
    about: { kind: "outbound", question: { local: LOCAL, source: ADDRESS, destination: ADDRESS } },
  },
  {
    kind: "ask",
    router: 1,
    question: 3,
    about: {
      kind: "inbound",
      question: {
        local: LOCAL,
        localIp: "10.0.0.1",
        peerIp: "::1",
        authority: { kind: "hostname", hostname: "a.b", port: 80 },
        forwardedHost: "c.d",
        fromGateway: true,
      },
    },
  },
  {
    kind: "ask",
    router: 1,
    question: 4,
    about: {
      kind: "inboundPlaintext",
      question: { local: LOCAL, peerIp: "10.0.0.1", destination: ADDRESS },
    },
  },
  {
    kind: "ask",
    router: 1,
    question: 5,
    about: { kind: "policies", selection: { namespace: "default", listed: ["a/b"] } },
  },
  {
    kind: "ask",
    router: 1,
    question: 6,
    about: { kind: "resolve", local: LOCAL, name: "a.b", family: 6 },
  },
  { kind: "cancel", question: 1 },
  { kind: "events", items: [1, "x"] },
  {
    kind: "pong",
    heapUsedBytes: 1,
    heapLimitBytes: 2,
    health: {
      loop: { turns: 2, wakes: 1, turnP99Us: 480, turnMaxUs: 900 },
      nativeObjects: { socket: 3 },
    },
  },
  { kind: "bug", stack: "Error: x\n  at y" },
  { kind: "refused", count: 1, connectionsMax: 10 },
  { kind: "dying", reason: "x" },
  { kind: "closed", leaked: { descriptor: 1 } },
];

Deno.test("checkMessage() takes every message as it is after a copy", () => {
  for (const message of MESSAGES) assertEquals(checkMessage(structuredClone(message)), message);
});

Deno.test.each([
  { name: "nothing", value: undefined },
  { name: "null", value: null },
  { name: "a text", value: "events" },
  { name: "no kind", value: { plane: 1 } },
  { name: "a kind of the object's own", value: { kind: "constructor" } },
  { name: "an unknown kind", value: { kind: "open", plane: 1 } },
  { name: "a field that is missing", value: { kind: "cancel" } },
  { name: "a negative count", value: { kind: "cancel", question: -1 } },
  { name: "a fraction", value: { kind: "cancel", question: 0.5 } },
  { name: "items that are no list", value: { kind: "events", items: { length: 3 } } },
  {
    name: "an unknown question",
    value: { kind: "ask", router: 1, question: 1, about: { kind: "x" } },
  },
  {
    name: "an IP that is none",
    value: {
      kind: "ask",
      router: 1,
      question: 1,
      about: {
        kind: "outbound",
        question: { local: LOCAL, source: ADDRESS, destination: { ip: "010.0.0.1", port: 1 } },
      },
    },
  },
])("checkMessage() refuses $name", ({ value }) => {
  assertThrows(() => checkMessage(value), MessageError);
});

Deno.test("checkMessage() refuses every message with one field of another type", () => {
  const random = new SeededRandom(5);
  let changed = 0;
  for (const message of MESSAGES) {
    for (const name of Object.keys(message)) {
      const wrong = [undefined, null, -5, {}, true][random.uint32() % 5];
      // An empty object is a good record; a list is checked when it is read.
      if (wrong?.constructor === Object && ["leaked", "stats"].includes(name)) continue;
      const error = assertThrows(() => checkMessage({ ...message, [name]: wrong }), MessageError);
      assert(!error.message.includes("10.0.0"), "nothing of it is shown");
      changed++;
    }
  }
  assert(changed > 40);
});

// Records that no honest peer sends, inside a session that is as good as any (RFC 8446 §5, §6).
import { assertEquals } from "@std/assert";
import { ROOT } from "../../../tests/support/bad_peers.ts";
import {
  CONTENT,
  ForgedSession,
  type RecordForger,
  wireRecord,
} from "../../../tests/support/forged_records.ts";
import { NativeTls } from "../../../tests/support/native_tls.ts";
import {
  fixedSource,
  identity,
  pass,
  promised,
  until,
} from "../../../tests/support/real_sockets.ts";
import type { ProxyError } from "../../base/errors.ts";
import type { SecureChannel } from "../network.ts";
import { LATE_MESSAGES_MAX } from "./tls_session.ts";

const SERVER = await ROOT.leaf({ uris: [identity("server").uri] });
const CLIENT = await ROOT.leaf({ uris: [identity("client").uri] });

/** What the server's channel said. */
interface Heard {
  text: string;
  ends: number;
  error: ProxyError | null | undefined;
}

interface Scene extends AsyncDisposable {
  readonly session: ForgedSession;
  readonly forger: RecordForger;
  readonly heard: Heard;
}

async function scene(): Promise<Scene> {
  await using opened = new AsyncDisposableStack();
  const world = opened.use(new NativeTls());
  await world.listen();
  const session = opened.use(await ForgedSession.start(world.listener.local.port, CLIENT));
  const accepted = await world.accept();
  const channel = await promised<SecureChannel>((done) =>
    world.network.secureServer(accepted, {
      certificates: fixedSource(SERVER),
      timeoutMs: 3000,
    }, done)
  );
  opened.defer(() => channel.reset(null));
  const heard: Heard = { text: "", ends: 0, error: undefined };
  channel.attach({
    onData(block, start, end) {
      heard.text += new TextDecoder().decode(block.bytes.subarray(start, end));
    },
    onEnd: () => void heard.ends++,
    onWritable() {},
    onClose: (error) => void (heard.error = error),
  });
  const forger = await session.forger();
  const owned = opened.move();
  return { session, forger, heard, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const octets = (text: string) => new TextEncoder().encode(text);

const data = (f: RecordForger, text: string) => f.seal(CONTENT.data, octets(text));
const message = (f: RecordForger, ...bytes: number[]) => f.seal(CONTENT.handshake, bytes);

interface Row {
  readonly name: string;
  readonly records: (forger: RecordForger) => readonly Uint8Array[];
  readonly code: "TLS_PROTOCOL" | "NOT_TLS" | "TLS_ALERT";
}

/** Rows of one outcome. */
function rows(
  code: Row["code"],
  records: Readonly<Record<string, Row["records"]>>,
): readonly Row[] {
  return Object.entries(records).map(([name, make]) => ({ name, records: make, code }));
}

function times(count: number, make: () => Uint8Array): Uint8Array[] {
  return Array.from({ length: count }, make);
}

const FORGED: readonly Row[] = [
  ...rows("NOT_TLS", {
    "nothing but padding": (f) => [f.seal(0, [], 50)],
    "an unknown content type": (f) => [f.seal(99, [1])],
    "a heartbeat": (f) => [f.seal(24, [1, 0, 16])],
    "an encrypted change_cipher_spec": (f) => [f.seal(CONTENT.changeCipherSpec, [1])],
    "a plain change_cipher_spec": () => [wireRecord(CONTENT.changeCipherSpec, Uint8Array.of(1))],
    "a plain alert": () => [wireRecord(CONTENT.alert, Uint8Array.of(2, 40))],
    "a plain handshake message": () => [wireRecord(CONTENT.handshake, Uint8Array.of(1, 0, 0, 0))],
    "another version": (f) => [wireRecord(CONTENT.data, data(f, "x").subarray(5), 0x0903)],
  }),
  ...rows("TLS_PROTOCOL", {
    "a flood of empty records": (f) => times(10_000, () => f.seal(CONTENT.data, [])),
    "a flood of nothing but padding of data": (f) =>
      times(10_000, () => f.seal(CONTENT.data, [], 200)),
    "a record without a tag": () => [wireRecord(CONTENT.data, new Uint8Array(10))],
    "a record of nothing": () => [wireRecord(CONTENT.data, new Uint8Array(0))],
    "a record longer than any may be": () => [Uint8Array.of(CONTENT.data, 3, 3, 0x41, 0x20)],
    "more octets than a record may hold": (f) => [f.seal(CONTENT.data, new Uint8Array(16_385))],
    "a record of other keys": (f) => [data(f, "x").fill(7, 5)],
    "a record out of turn": (f) => [data(f, "lost"), data(f, "x")].slice(1),
    "a hello": (f) => [message(f, 1, 0, 0, 4, 0, 0, 0, 0)],
    "a ticket": (f) => [message(f, 4, 0, 0, 13, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0)],
    "a request for our certificate": (f) => [message(f, 13, 0, 0, 3, 0, 0, 0)],
    "a certificate": (f) => [message(f, 11, 0, 0, 4, 0, 0, 0, 0)],
    "a second finished": (f) => [message(f, 20, 0, 0, 4, 0, 0, 0, 0)],
    "an end of early data": (f) => [message(f, 5, 0, 0, 0)],
    "a message that claims 16 MiB": (f) => [message(f, 24, 255, 255, 255, 0)],
    "an empty handshake record": (f) => [message(f)],
    "a key update of an unknown kind": (f) => [message(f, 24, 0, 0, 1, 2)],
    "a key update without a word": (f) => [message(f, 24, 0, 0, 0)],
    "data under keys that were given up": (f) => [message(f, 24, 0, 0, 1, 0), data(f, "x")],
    "a message interrupted by data": (f) => [message(f, 24, 0), data(f, "x")],
    "an alert of one octet": (f) => [f.seal(CONTENT.alert, [1])],
    "an alert of nothing": (f) => [f.seal(CONTENT.alert, [])],
    "a flood of warnings": (f) => times(100, () => f.seal(CONTENT.alert, [1, 90])),
  }),
  ...rows("TLS_ALERT", {
    "an alert without a name": (f) => [f.seal(CONTENT.alert, [2, 200])],
  }),
];

Deno.test.each([...FORGED])(
  "a session ends as an error, after the data before it, for $name",
  async ({ records, code }) => {
    await using set = await scene();
    const { session, forger, heard } = set;
    session.send(data(forger, "good"), ...records(forger), data(forger, "too late"));
    await until(() => heard.error !== undefined);
    assertEquals([heard.text, heard.ends, heard.error?.code], ["good", 0, code]);
  },
);

Deno.test("a record that comes twice is delivered once and ends the session", async () => {
  await using set = await scene();
  const { session, forger, heard } = set;
  const record = data(forger, "once");
  session.send(record, record);
  await until(() => heard.error !== undefined);
  assertEquals([heard.text, heard.ends, heard.error?.code], ["once", 0, "TLS_PROTOCOL"]);
});

Deno.test("nothing is delivered after close_notify", async () => {
  await using set = await scene();
  const { session, forger, heard } = set;
  session.send(data(forger, "good"), forger.seal(CONTENT.alert, [1, 0]), data(forger, "too late"));
  await until(() => heard.ends === 1);
  await pass(20);
  assertEquals([heard.text, heard.ends, heard.error], ["good", 1, undefined]);
});

Deno.test("records of one octet, padded or not, with a few empty ones between, are data like any other", async () => {
  await using set = await scene();
  const { session, forger, heard } = set;
  const count = 5_000;
  let forgedPadding = 0;
  session.send(
    ...times(count, () => forger.seal(CONTENT.data, [0x61], forgedPadding++ % 7)),
    ...times(20, () => forger.seal(CONTENT.data, [])),
    data(forger, "b"),
  );
  await until(() => heard.text.length === count + 1);
  assertEquals([heard.text, heard.error], ["a".repeat(count) + "b", undefined]);
});

Deno.test.each([
  { updates: LATE_MESSAGES_MAX, requested: false, passes: true },
  { updates: LATE_MESSAGES_MAX + 1, requested: false, passes: false },
  { updates: LATE_MESSAGES_MAX / 2, requested: true, passes: true },
  { updates: LATE_MESSAGES_MAX / 2 + 1, requested: true, passes: false },
])(
  "$updates key updates in a minute, answers requested: $requested, pass: $passes (LATE_MESSAGES_MAX)",
  async ({ updates, requested, passes }) => {
    await using set = await scene();
    const { session, forger, heard } = set;
    session.send(...times(updates, () => forger.keyUpdate(requested)), data(forger, "after"));
    await until(() => heard.error !== undefined || heard.text !== "");
    assertEquals(
      [heard.text, heard.error?.message],
      passes ? ["after", undefined] : ["", "peer misbehaved: TooManyKeyUpdateRequests"],
    );
  },
);

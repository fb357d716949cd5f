// A certificate crosses once per rotation; its key is in one isolate's hands at a time, and wiped after its import.
import { assert, assertEquals } from "@std/assert";
import { testLeaf } from "../../tests/support/data_plane_world.ts";
import type { Cancel, Done } from "../base/channel.ts";
import { DeadlineError, ProxyError } from "../base/errors.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { CertifiedKey, RotatingCertificateSource } from "../tls/certificate.ts";
import { TlsHandshakeError } from "../tls/errors.ts";
import { PrivateKey } from "../tls/private_key.ts";
import { spiffeId } from "../tls/spiffe_id.ts";
import { CertificatePush, shipmentOf } from "./certificate_push.ts";
import type { WireError } from "./errors.ts";
import type { WireCertificate } from "./messages.ts";
import {
  PINNED_MAX,
  REMOTE_WAITERS_MAX,
  RemoteCertificates,
  REPLACED_PINNED_MS,
} from "./remote_certificates.ts";

const IDENTITY = spiffeId({
  trustDomain: "cluster.local",
  namespace: "default",
  serviceAccount: "client",
});

/** A leaf with a key of its own, as each rotation brings one. */
async function leaf(generation: number): Promise<CertifiedKey> {
  const issued = await testLeaf(IDENTITY);
  const key = new PrivateKey(issued.key.use((der) => der.slice()));
  return { ...issued, key, generation };
}

/** Gives what it is told to, and tells of rotations. */
class Source implements RotatingCertificateSource {
  readonly identity = IDENTITY;
  readonly waiting: Done<CertifiedKey>[] = [];
  readonly listeners = new Set<(certificate: CertifiedKey) => void>();

  get(done: Done<CertifiedKey>): Cancel {
    this.waiting.push(done);
    return { cancel: () => void this.waiting.splice(this.waiting.indexOf(done), 1) };
  }

  onRotate(listener: (certificate: CertifiedKey) => void): Cancel {
    this.listeners.add(listener);
    return { cancel: () => void this.listeners.delete(listener) };
  }

  rotate(certificate: CertifiedKey): void {
    for (const listener of this.listeners) listener(certificate);
  }

  answer(outcome: CertifiedKey | ProxyError): void {
    for (const done of this.waiting.splice(0)) done(outcome);
  }
}

function push(): {
  readonly source: Source;
  readonly push: CertificatePush;
  readonly sent: WireCertificate[];
  readonly failures: WireError[];
} {
  const source = new Source();
  const sent: WireCertificate[] = [];
  const failures: WireError[] = [];
  const made = new CertificatePush({
    source,
    post: (certificate, transfer) =>
      sent.push(structuredClone(certificate, { transfer: [...transfer] })),
    postFailure: (error) => failures.push(error),
  });
  return { source, push: made, sent, failures };
}

Deno.test("shipmentOf() moves a copy of the key; the sender's copy is detached, its key is not", async () => {
  const certificate = await leaf(1);
  const before = certificate.key.use((der) => der.slice());
  const { certificate: wire, transfer } = shipmentOf(certificate);
  const arrived = structuredClone(wire, { transfer: [...transfer] });
  assertEquals(wire.keyDer.byteLength, 0);
  assertEquals(arrived.keyDer, before);
  assertEquals(certificate.key.use((der) => der.slice()), before);
  assertEquals([arrived.identity, arrived.chainDer, arrived.rootsDer, arrived.notAfterMs], [
    certificate.identity,
    certificate.chainDer,
    certificate.rootsDer,
    certificate.notAfterMs,
  ]);
});

Deno.test("shipmentOf() takes no more of a buffer along than the certificate", async () => {
  const certificate = await leaf(1);
  const large = new Uint8Array(100_000);
  const der = large.subarray(10, 20);
  const { certificate: wire } = shipmentOf({ ...certificate, chainDer: [der] });
  assertEquals(wire.chainDer[0]!.buffer.byteLength, 10);
});

Deno.test("CertificatePush sends the first, and each rotation once", async () => {
  const { source, sent } = push();
  const [first, second] = [await leaf(1), await leaf(2)];
  source.rotate(first); // The source tells of it before it answers.
  source.answer(first);
  assertEquals(sent.map(({ generation }) => generation), [1]);
  source.rotate(second);
  source.rotate(second);
  assertEquals(sent.map(({ generation }) => generation), [1, 2]);
});

Deno.test("CertificatePush asks the source once, however often one is wanted", async () => {
  const { source, push: made, sent, failures } = push();
  made.want();
  made.want();
  assertEquals(source.waiting.length, 1);
  source.answer(new DeadlineError());
  assertEquals(failures.map(({ code }) => code), ["DEADLINE_ELAPSED"]);
  made.want();
  source.answer(await leaf(1));
  assertEquals(sent.length, 1);
  made.close();
  made.want();
  assertEquals([source.waiting.length, source.listeners.size], [0, 0]);
});

Deno.test("a closed CertificatePush takes its question back and sends nothing", async () => {
  const { source, push: made, sent } = push();
  made.close();
  assertEquals([source.waiting.length, source.listeners.size], [0, 0]);
  source.rotate(await leaf(1));
  assertEquals(sent, []);
});

/** The worker's half, with contexts that only count. */
class Scene {
  readonly clock = new VirtualClock();
  readonly pinned: CertifiedKey[] = [];
  readonly given: (CertifiedKey | ProxyError)[] = [];
  wanted = 0;
  refuses: Error | null = null;
  keyAtPin: Uint8Array | null = null;
  readonly source = new RemoteCertificates({
    identity: IDENTITY,
    clock: this.clock,
    pins: {
      pin: (certificate) => {
        if (this.refuses !== null) throw this.refuses;
        this.keyAtPin = certificate.key.use((der) => der.slice());
        this.pinned.push(certificate);
      },
      unpin: (certificate) => void this.pinned.splice(this.pinned.indexOf(certificate), 1),
    },
    want: () => this.wanted++,
  });

  get(): Cancel {
    return this.source.get((outcome) => this.given.push(outcome));
  }

  async receive(generation: number, over: Partial<WireCertificate> = {}): Promise<WireCertificate> {
    const { certificate } = shipmentOf(await leaf(generation));
    const wire = { ...certificate, ...over };
    this.source.receive(wire);
    this.clock.runUntilIdle();
    return wire;
  }

  get generations(): (number | string)[] {
    return this.given.map((one) => one instanceof ProxyError ? one.message : one.generation);
  }
}

Deno.test("RemoteCertificates imports a key and wipes it, and gives the certificate in a later call", async () => {
  const scene = new Scene();
  const wire = await scene.receive(1);
  assert(scene.keyAtPin!.some((octet) => octet !== 0), "the key was there for the import");
  assert(wire.keyDer.every((octet) => octet === 0), "and is no longer");
  scene.get();
  assertEquals(scene.given, []);
  scene.clock.runUntilIdle();
  assertEquals(scene.given, [scene.pinned[0]!]);
  assert(scene.pinned[0]!.key.isWiped);
});

Deno.test("get() waits for the first certificate without asking, since it is on its way", async () => {
  const scene = new Scene();
  scene.get();
  const gone = scene.get();
  gone.cancel();
  assertEquals([scene.wanted, scene.source.waiting], [0, 1]);
  await scene.receive(1);
  assertEquals(scene.generations, [1]);
});

Deno.test("a failure is told to those who wait; who comes later asks again, all together once", async () => {
  const scene = new Scene();
  scene.get();
  scene.source.fail(new DeadlineError());
  assertEquals(scene.generations, ["deadline has elapsed"]);
  scene.get();
  scene.get();
  assertEquals(scene.wanted, 1);
  await scene.receive(1);
  assertEquals(scene.generations, ["deadline has elapsed", 1, 1]);
});

Deno.test("an expired certificate is not given; a new one is asked for", async () => {
  const scene = new Scene();
  await scene.receive(1, { notAfterMs: scene.clock.wallMs() + 1000 });
  scene.clock.advance(1001);
  scene.get();
  assertEquals([scene.wanted, scene.given.length], [1, 0]);
  await scene.receive(2);
  assertEquals(scene.generations, [2]);
});

Deno.test("a certificate that expires between the question and its answer is not given either", async () => {
  const scene = new Scene();
  await scene.receive(1, { notAfterMs: scene.clock.wallMs() + 1000 });
  scene.get();
  scene.clock.jumpWall(1000);
  scene.clock.runUntilIdle();
  assertEquals([scene.wanted, scene.given.length], [1, 0]);
  await scene.receive(2);
  assertEquals(scene.generations, [2]);
});

Deno.test("a certificate that TLS refuses is wiped, and the one before serves on", async () => {
  const scene = new Scene();
  scene.refuses = new TlsHandshakeError("TLS_MATERIAL", "key values mismatch");
  scene.get();
  const wire = await scene.receive(1);
  assert(wire.keyDer.every((octet) => octet === 0));
  assertEquals(scene.generations, ["key values mismatch"]);
  scene.get();
  scene.clock.runUntilIdle();
  assertEquals([scene.generations[1], scene.wanted], ["key values mismatch", 0]);
  scene.refuses = null;
  await scene.receive(2);
  scene.refuses = new TlsHandshakeError("TLS_MATERIAL", "again");
  await scene.receive(3);
  scene.get();
  scene.clock.runUntilIdle();
  assertEquals(scene.generations[2], 2);
});

Deno.test("a bug in the import wipes the key too, and is not swallowed", async () => {
  const scene = new Scene();
  scene.refuses = new Error("bug");
  const { certificate } = shipmentOf(await leaf(1));
  let thrown: unknown = null;
  try {
    scene.source.receive(certificate);
  } catch (error) {
    thrown = error;
  }
  assert(thrown === scene.refuses);
  assert(certificate.keyDer.every((octet) => octet === 0));
});

Deno.test("a replaced certificate keeps its contexts for REPLACED_PINNED_MS", async () => {
  const scene = new Scene();
  await scene.receive(1);
  await scene.receive(2);
  scene.clock.advance(REPLACED_PINNED_MS - 1);
  assertEquals(scene.pinned.map(({ generation }) => generation), [1, 2]);
  scene.clock.advance(1);
  assertEquals(scene.pinned.map(({ generation }) => generation), [2]);
  scene.source.close();
  assertEquals([scene.pinned.length, scene.clock.pendingTimers], [0, 0]);
});

Deno.test("PINNED_MAX certificates have contexts, however fast they rotate", async () => {
  const scene = new Scene();
  for (let generation = 1; generation <= PINNED_MAX; generation++) await scene.receive(generation);
  assertEquals(scene.pinned.length, PINNED_MAX);
  await scene.receive(PINNED_MAX + 1);
  assertEquals(scene.pinned.map(({ generation }) => generation), [2, 3, 4, 5]);
  scene.source.close();
  assertEquals([scene.source.pinned, scene.pinned.length, scene.clock.pendingTimers], [0, 0, 0]);
});

Deno.test("REMOTE_WAITERS_MAX callers may wait and no more", () => {
  const scene = new Scene();
  for (let count = 0; count < REMOTE_WAITERS_MAX; count++) scene.get();
  scene.clock.runUntilIdle();
  assertEquals([scene.source.waiting, scene.given.length], [REMOTE_WAITERS_MAX, 0]);
  scene.get();
  scene.clock.runUntilIdle();
  const [refused] = scene.given;
  assert(refused instanceof ProxyError && refused.code === "CERTIFICATE_WAITERS_MAX");
  scene.source.close();
  assertEquals(scene.source.waiting, 0);
});

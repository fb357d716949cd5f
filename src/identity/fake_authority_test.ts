// The throw-away CA behind the interface of every CA, and the certificate manager on real keys.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { promised } from "../../tests/support/real_sockets.ts";
import { SeededRandom } from "../base/random.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { CertifiedKey } from "../tls/certificate.ts";
import { parseSpiffeId } from "../tls/spiffe_id.ts";
import { CertificateManager } from "./certificate_manager.ts";
import { IdentityError } from "./errors.ts";
import { FakeAuthority } from "./fake_authority.ts";
import { BACKDATE_MS, FakeCa, LEAF_LIFETIME_MS } from "./fake_ca.ts";

const ID = parseSpiffeId("spiffe://cluster.local/ns/default/sa/a");
const FOREVER = new AbortController().signal;

Deno.test("FakeAuthority.issue() signs by the wall clock, for as long as it was told", async () => {
  const clock = new VirtualClock();
  const ca = await FakeCa.create({ nowMs: clock.wallMs() });
  clock.jumpWall(60_000);
  const usual = await new FakeAuthority(ca, { clock }).issue(ID, FOREVER);
  assertEquals(
    [usual.identity, usual.notBeforeMs, usual.notAfterMs],
    [ID, clock.wallMs() - BACKDATE_MS, clock.wallMs() + LEAF_LIFETIME_MS],
  );
  const short = new FakeAuthority(ca, { clock, lifetimeMs: 10_000, backdateMs: 0 });
  const { notBeforeMs, notAfterMs } = await short.issue(ID, FOREVER);
  assertEquals([notBeforeMs, notAfterMs - notBeforeMs], [clock.wallMs(), 10_000]);
});

Deno.test("FakeAuthority.issue() words what went wrong as every authority does", async () => {
  const broken = { issue: () => Promise.reject(new Error("no luck")) };
  const authority = new FakeAuthority(broken, { clock: new VirtualClock() });
  const error = await assertRejects(() => authority.issue(ID, FOREVER), IdentityError);
  assertEquals([error.code, error.message], ["CA_FAILED", "failed to create CSR: tls: no luck"]);
});

Deno.test("FakeAuthority.issue() does nothing for who has given up", async () => {
  const ca = await FakeCa.create({ nowMs: 0 });
  const authority = new FakeAuthority(ca, { clock: new VirtualClock() });
  await assertRejects(() => authority.issue(ID, AbortSignal.abort(new IdentityError("X", "x"))));
});

Deno.test("CertificateManager over a FakeAuthority: many callers, one leaf, a key wiped at the end", async () => {
  const clock = new VirtualClock();
  const authority = new FakeAuthority(await FakeCa.create({ nowMs: clock.wallMs() }), { clock });
  const random = new SeededRandom(3);
  const manager = new CertificateManager({ authority, clock, random, log: () => {} });
  const source = manager.source(ID);
  const waiting = [1, 2, 3].map(() => promised<CertifiedKey>((done) => source.get(done)));
  const ticker = setInterval(() => clock.runUntilIdle(), 1);
  const all = await Promise.all(waiting);
  clearInterval(ticker);
  assertEquals(new Set(all).size, 1);
  assertEquals(manager.dump(), [{ identity: ID, state: "Available", current: all[0]! }]);
  manager.close();
  assert(all[0]!.key.isWiped);
});

// Buffers are lent, used again, and freed where too many are idle.
import { assert, assertEquals } from "@std/assert";
import { testLibraries } from "../../../tests/support/native_tls.ts";
import { CountedObjects } from "./live_objects.ts";
import { OpenSsl } from "./openssl.ts";
import { GATHERS_IDLE_MAX, WriteGather } from "./write_gather.ts";

Deno.test("WriteGather keeps GATHERS_IDLE_MAX buffers, and none that holds somebody's records", () => {
  assertEquals(GATHERS_IDLE_MAX, 4);
  const objects = new CountedObjects();
  const openssl = OpenSsl.open(testLibraries(), objects);
  const gather = new WriteGather(openssl);
  const count = () => objects.counts.get("BIO") ?? 0;
  const lent = Array.from({ length: GATHERS_IDLE_MAX + 1 }, () => gather.take());
  assertEquals(count(), GATHERS_IDLE_MAX + 1);
  for (const bio of lent) gather.giveBack(bio, true);
  assertEquals(count(), GATHERS_IDLE_MAX);
  const again = gather.take();
  assert(lent.includes(again));
  gather.giveBack(again, false);
  assertEquals(count(), GATHERS_IDLE_MAX - 1);
  gather.close();
  assertEquals(count(), 0);
  openssl.close();
});

// The figure exists, and the cache is worth something.
import { assert } from "@std/assert";
import { verdictCost } from "./verdict_cost.ts";

Deno.test("verdictCost() finds a chain in the cache cheaper than on foot", async () => {
  const { cachedUs, uncachedUs } = await verdictCost({ handshakes: 200 });
  assert(cachedUs > 0);
  assert(uncachedUs > 2 * cachedUs, `${uncachedUs} µs without the cache, ${cachedUs} with it`);
});

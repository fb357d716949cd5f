// A pool saves memory and never changes an answer.
import { assertEquals, assertStrictEquals } from "@std/assert";
import { keyPart, Pool, POOLED_KEY_CHARS_MAX, POOLED_MAX } from "./pool.ts";

Deno.test("Pool gives the same value for the same key, and makes it once", () => {
  const pool = new Pool<{ made: number }>();
  let made = 0;
  const get = () => pool.get("key", () => ({ made: ++made }));
  assertStrictEquals(get(), get());
  assertEquals(made, 1);
});

Deno.test("Pool remembers POOLED_MAX values and forgets all with the next one", () => {
  const pool = new Pool<string>();
  const made: string[] = [];
  const get = (key: string) => pool.get(key, () => (made.push(key), key));
  for (let at = 0; at < POOLED_MAX - 1; at++) get(`${at}`);
  get("last that fits");
  get("0");
  assertEquals(made.length, POOLED_MAX);
  get("one more");
  get("0");
  assertEquals(made.length, POOLED_MAX + 2);
});

Deno.test("Pool remembers keys up to POOLED_KEY_CHARS_MAX characters", () => {
  for (const more of [-1, 0, 1]) {
    const pool = new Pool<object>();
    const key = "k".repeat(POOLED_KEY_CHARS_MAX + more);
    assertEquals(pool.get(key, () => ({})) === pool.get(key, () => ({})), more <= 0);
  }
});

Deno.test("keyPart() keeps neighbours apart", () => {
  assertEquals(keyPart("a") + keyPart("b1:c"), "1:a4:b1:c");
});

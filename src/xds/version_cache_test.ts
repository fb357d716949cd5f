import { assertEquals } from "@std/assert";
import { VersionCache } from "./version_cache.ts";

Deno.test("VersionCache keeps the last accepted version of each name, also an empty one", () => {
  const cache = new VersionCache(["a", "b"]);
  cache.accepted("a", "x", "1");
  cache.accepted("a", "x", "2");
  cache.accepted("a", "y", "");
  assertEquals([...cache.of("a")], [["x", "2"], ["y", ""]]);
  assertEquals([...cache.of("b")], []);
});

Deno.test("VersionCache forgets what was removed", () => {
  const cache = new VersionCache(["a"]);
  cache.accepted("a", "x", "1");
  cache.removed("a", "x");
  cache.removed("a", "never there");
  assertEquals([...cache.of("a")], []);
});

Deno.test("VersionCache notes a name that was asked for, unless it has a version", () => {
  const cache = new VersionCache(["a"]);
  cache.accepted("a", "x", "1");
  assertEquals([cache.asked("a", "x"), cache.asked("a", "y"), cache.asked("a", "y")], [
    false,
    true,
    false,
  ]);
  assertEquals([...cache.of("a")], [["x", "1"], ["y", ""]]);
});

import { assert, assertEquals } from "@std/assert";
import { cpuSeconds, openDescriptors, residentBytes } from "./process_stats.ts";

Deno.test("cpuSeconds() grows with work done and with nothing else", () => {
  const before = cpuSeconds(Deno.pid);
  const start = performance.now();
  while (performance.now() - start < 60);
  const used = cpuSeconds(Deno.pid) - before;
  assert(used >= 0.02 && used < 1, `used ${used} s`);
});

Deno.test("openDescriptors() counts one more for a file that is opened", () => {
  const before = openDescriptors(Deno.pid);
  const file = Deno.openSync(new URL(import.meta.url));
  const during = openDescriptors(Deno.pid);
  file.close();
  assertEquals([during - before, openDescriptors(Deno.pid) - before], [1, 0]);
});

Deno.test("residentBytes() is the size the runtime reports, give or take a quarter", () => {
  const ratio = residentBytes(Deno.pid) / Deno.memoryUsage().rss;
  assert(ratio > 0.75 && ratio < 1.25, `ratio ${ratio}`);
});

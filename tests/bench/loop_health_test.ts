import { assert, assertEquals } from "@std/assert";
import { dataPlaneSleeps, parseLoopReport, parseSleeps } from "./loop_health.ts";

Deno.test("parseSleeps() counts sleeps, not pre-emptions", () => {
  const status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t99\n";
  assertEquals(parseSleeps(status), 12);
  assertEquals(parseSleeps("Name:\tx\n"), NaN);
});

Deno.test("dataPlaneSleeps() grows with each message that wakes a worker, and is NaN without one", async () => {
  const sleeper = new Deno.Command("sleep", { args: ["60"] }).spawn();
  assertEquals(dataPlaneSleeps(sleeper.pid), NaN);
  sleeper.kill("SIGKILL");
  await sleeper.status;
  const source = "self.onmessage = () => self.postMessage(0);";
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(source)}`, {
    type: "module",
  });
  const ask = () =>
    new Promise((resolve) => {
      worker.onmessage = resolve;
      worker.postMessage(0);
    });
  await ask();
  const before = dataPlaneSleeps(Deno.pid);
  for (let round = 0; round < 5; round++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    await ask();
  }
  const grown = dataPlaneSleeps(Deno.pid) - before;
  worker.terminate();
  assert(grown >= 3, `${grown} sleeps`);
});

Deno.test.each([
  {
    name: "reads what the loop says",
    dump: { dataPlane: { loop: { turnP99Us: 480, turnMaxUs: 9000 } } },
    expected: { turnP99Us: 480, turnMaxUs: 9000 },
  },
  {
    name: "is NaN where there is no loop",
    dump: { config: {} },
    expected: { turnP99Us: NaN, turnMaxUs: NaN },
  },
])("parseLoopReport() $name", ({ dump, expected }) => {
  assertEquals(parseLoopReport(JSON.stringify(dump)), expected);
});

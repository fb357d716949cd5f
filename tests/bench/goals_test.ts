import { assert, assertEquals } from "@std/assert";
import { CELLS } from "./cells.ts";
import { goalsOf } from "./goals.ts";

const MEASURES = CELLS.flatMap((cell) => cell.measures.map(({ name }) => name));

function names(ran: Partial<Parameters<typeof goalsOf>[0]>): string[] {
  const whole = { arms: ["deno", "native"], measures: MEASURES, openSsl: null, original: null };
  return goalsOf({ ...whole, ...ran }).map(({ name }) => name);
}

Deno.test("goalsOf() compares only arms that ran", () => {
  assert(names({}).every((name) => /^(native \/ deno|native|deno): /.test(name)));
  assert(names({ arms: ["deno", "node:http2"] }).some((name) => name.includes("node:http2")));
  assert(names({ arms: ["native"] }).every((name) => name.startsWith("native: ")));
  assertEquals(names({ arms: ["original"] }), []);
});

Deno.test("goalsOf() leaves out what was not measured", () => {
  const measure = "bulk 1 stream reverse";
  assertEquals(names({ measures: [measure] }), [`native / deno: ${measure}`]);
});

Deno.test("every goal is about a measure that some cell has", () => {
  const arms = ["deno", "native", "node:http2", "original"];
  for (const original of [null, "original"]) {
    const ran = { arms, openSsl: "3.5.4", original };
    // Unknown measures would be left out in silence: count them with and without the filter.
    const everything = { includes: () => true } as unknown as readonly string[];
    assertEquals(names(ran), names({ ...ran, measures: everything }));
  }
});

Deno.test.each([
  { openSsl: "3.5.0", atLeast: 2 },
  { openSsl: "3.0.17", atLeast: 1.4 },
  { openSsl: null, atLeast: 1.4 },
])("goalsOf() asks $atLeast times the handshakes with OpenSSL $openSsl", ({ openSsl, atLeast }) => {
  const measures = ["new connections, a handshake each"];
  const goals = goalsOf({ arms: ["deno", "native"], measures, openSsl, original: null });
  assertEquals(goals.map((goal) => goal.atLeast), [atLeast]);
});

Deno.test("goalsOf() judges against the original from OpenSSL 3.5 on, and nothing else then", () => {
  const arms = ["original", "native", "deno"];
  assertEquals(names({ arms, original: "original", openSsl: "3.0.17" }), []);
  const judged = names({ arms, original: "original", openSsl: "3.5.1" });
  assertEquals(judged.length, 13);
  assert(judged.every((name) => name.startsWith("native / original: ")));
});

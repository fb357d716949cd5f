// Whether an answer is stale after changes: by what they touched, as far as that is remembered.
import { assertEquals } from "@std/assert";
import { DEPENDENCIES_MAX, RECENT_TOUCHES_MAX, RecentTouches } from "./recent_touches.ts";

function answer(generation: number, ...dependsOn: string[]) {
  return { generation, dependsOn };
}

Deno.test("RecentTouches finds an answer stale that a later change touched, and no other", () => {
  const touches = new RecentTouches();
  assertEquals(touches.isStale(answer(-1, "x")), false);
  touches.note(5, ["x", "y"]);
  touches.note(7, ["y"]);
  assertEquals(
    [answer(4, "x"), answer(5, "x"), answer(5, "y"), answer(7, "y"), answer(0, "z"), answer(0)]
      .map((each) => touches.isStale(each)),
    [true, false, true, false, false, false],
  );
});

Deno.test("RecentTouches finds everything stale from before a change of everything", () => {
  const touches = new RecentTouches();
  touches.note(5, null);
  touches.note(6, ["x"]);
  assertEquals(
    [answer(4), answer(5, "z"), answer(5, "x")].map((each) => touches.isStale(each)),
    [true, false, true],
  );
});

Deno.test("RecentTouches forgets single ones, not that everything changed", () => {
  const touches = new RecentTouches();
  touches.note(5, null);
  touches.note(6, ["x"]);
  touches.forget();
  assertEquals([touches.size, touches.isStale(answer(5, "x")), touches.isStale(answer(4))], [
    0,
    false,
    true,
  ]);
});

Deno.test.each([
  { name: "just under", count: DEPENDENCIES_MAX - 1, stale: false },
  { name: "at", count: DEPENDENCIES_MAX, stale: false },
  { name: "just over", count: DEPENDENCIES_MAX + 1, stale: true },
])(
  "RecentTouches looks at answers of DEPENDENCIES_MAX: $name is stale: $stale",
  ({ count, stale }) => {
    const touches = new RecentTouches();
    touches.note(2, ["other"]);
    const dependsOn = Array.from({ length: count }, (_, index) => `d${index}`);
    assertEquals(touches.isStale({ generation: 1, dependsOn }), stale);
  },
);

Deno.test.each([
  { name: "just under", count: RECENT_TOUCHES_MAX - 1, size: RECENT_TOUCHES_MAX - 1, stale: false },
  { name: "at", count: RECENT_TOUCHES_MAX, size: RECENT_TOUCHES_MAX, stale: false },
  { name: "just over", count: RECENT_TOUCHES_MAX + 1, size: 0, stale: true },
])(
  "RecentTouches remembers RECENT_TOUCHES_MAX: $name, others are stale: $stale",
  ({ count, size, stale }) => {
    const touches = new RecentTouches();
    for (let index = 0; index < count; index++) touches.note(index + 1, [`d${index}`]);
    assertEquals([touches.size, touches.isStale(answer(0, "other"))], [size, stale]);
  },
);

// Changes go out at once, or together; never so late that an answer overtakes them.
import { assertEquals } from "@std/assert";
import { VirtualClock } from "../base/virtual_clock.ts";
import { type StateChange, TOUCHED_MAX } from "../seam/router.ts";
import { ChangeGather, CHANGES_TOLD_MS } from "./change_gather.ts";

function scene() {
  const clock = new VirtualClock();
  const told: StateChange[] = [];
  const gather = new ChangeGather(clock, (change) => told.push(change));
  const add = (generation: number, touched: StateChange["touched"], policies = false) =>
    gather.add({ generation, policies, touched });
  return { clock, told, gather, add };
}

Deno.test("ChangeGather tells a change at once, and those that follow it together", () => {
  const { clock, told, add } = scene();
  add(1, ["a"]);
  assertEquals(told, [{ generation: 1, policies: false, touched: ["a"] }]);
  add(2, ["b", "c"]);
  add(3, ["c", "d"], true);
  add(4, []);
  clock.advance(CHANGES_TOLD_MS - 1);
  assertEquals(told.length, 1);
  clock.advance(1);
  assertEquals(told[1], { generation: 4, policies: true, touched: ["b", "c", "d"] });
  add(5, ["e"]);
  assertEquals(told.length, 2, "the pause begins anew");
  clock.advance(CHANGES_TOLD_MS);
  assertEquals(told[2], { generation: 5, policies: false, touched: ["e"] });
  clock.advance(CHANGES_TOLD_MS);
  add(6, ["f"]);
  assertEquals([told.length, told[3]!.generation], [4, 6]);
  clock.advance(CHANGES_TOLD_MS);
  assertEquals(clock.pendingTimers, 0);
});

Deno.test("ChangeGather tells what waits before an answer, once", () => {
  const { clock, told, gather, add } = scene();
  gather.tell();
  add(1, ["a"]);
  add(2, ["b"]);
  gather.tell();
  gather.tell();
  assertEquals(told.map(({ generation }) => generation), [1, 2]);
  clock.advance(CHANGES_TOLD_MS);
  assertEquals([told.length, clock.pendingTimers], [2, 0]);
});

Deno.test.each([
  { name: "just under", count: TOUCHED_MAX - 1, all: false },
  { name: "at", count: TOUCHED_MAX, all: false },
  { name: "just over", count: TOUCHED_MAX + 1, all: true },
])("ChangeGather with $name TOUCHED_MAX dependencies says everything: $all", ({ count, all }) => {
  const { clock, told, add } = scene();
  add(1, []);
  add(2, Array.from({ length: count - 1 }, (_, index) => `d${index}`));
  add(3, ["d0", "last"]);
  clock.advance(CHANGES_TOLD_MS);
  assertEquals(told[1]!.touched?.length ?? "everything", all ? "everything" : count);
});

Deno.test("ChangeGather says everything where any change did", () => {
  const { clock, told, add } = scene();
  add(1, []);
  add(2, ["a"]);
  add(3, null);
  add(4, ["b"]);
  clock.advance(CHANGES_TOLD_MS);
  assertEquals(told[1], { generation: 4, policies: false, touched: null });
});

Deno.test("ChangeGather tells nothing after its close", () => {
  const { clock, told, gather, add } = scene();
  add(1, ["a"]);
  add(2, ["b"]);
  gather.close();
  clock.advance(CHANGES_TOLD_MS);
  assertEquals([told.length, clock.pendingTimers], [1, 0]);
});

Deno.test("ChangeGather turns 10,000 changes in a second into one message per CHANGES_TOLD_MS", () => {
  const { clock, told, add } = scene();
  for (let change = 0; change < 10_000; change++) {
    add(change, [`d${change}`]);
    if (change % 10 === 9) clock.advance(1);
  }
  clock.advance(CHANGES_TOLD_MS);
  assertEquals(told.length, 1_000 / CHANGES_TOLD_MS + 1);
  assertEquals(told.flatMap(({ touched }) => touched!).length, 10_000);
});

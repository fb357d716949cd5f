import { assertEquals } from "@std/assert";
import type { Done } from "../base/channel.ts";
import { DeadlineError } from "../base/errors.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import { DATA_PLANE_LIMITS } from "./limits.ts";
import { askInTime } from "./route_step.ts";

const LIMIT_MS = DATA_PLANE_LIMITS.routeMsMax;

/** A question on its way, and what came of it. */
function asked() {
  const clock = new VirtualClock();
  const heard: unknown[] = [];
  const question = { done: ((_) => {}) as Done<string>, cancelled: 0 };
  const step = askInTime<string>(
    (done) => {
      question.done = done;
      return { cancel: () => void question.cancelled++ };
    },
    { clock, limits: DATA_PLANE_LIMITS },
    (outcome) => heard.push(outcome),
  );
  return { clock, heard, question, step };
}

Deno.test("askInTime() passes the answer on, and nothing is left of it", () => {
  const { clock, heard, question } = asked();
  clock.advance(LIMIT_MS - 1);
  question.done("route");
  assertEquals([heard, question.cancelled, clock.pendingTimers], [["route"], 0, 0]);
});

Deno.test("askInTime() gives up after routeMsMax", () => {
  const { clock, heard, question } = asked();
  clock.advance(LIMIT_MS);
  assertEquals([heard.length, heard[0] instanceof DeadlineError, question.cancelled], [1, true, 1]);
});

Deno.test("askInTime() cancelled calls nobody", () => {
  const { clock, heard, question, step } = asked();
  step.cancel();
  clock.advance(2 * LIMIT_MS);
  assertEquals([heard, question.cancelled, clock.pendingTimers], [[], 1, 0]);
});

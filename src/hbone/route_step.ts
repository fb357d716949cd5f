// A question to the Router, bounded in time: the first step of every connection.
import type { Cancel, Done } from "../base/channel.ts";
import { DeadlineError } from "../base/errors.ts";
import type { DataPlaneParts } from "./parts.ts";

/**
 * Calls `ask` with a completion that `done` hears; after `routeMsMax` the question is cancelled and `done` hears a
 * `DeadlineError` instead.
 */
export function askInTime<Answer>(
  ask: (done: Done<Answer>) => Cancel,
  { clock, limits }: Pick<DataPlaneParts, "clock" | "limits">,
  done: Done<Answer>,
): Cancel {
  const question = ask((outcome) => {
    timer.cancel();
    done(outcome);
  });
  const timer = clock.after(limits.routeMsMax, () => {
    question.cancel();
    done(new DeadlineError());
  });
  return {
    cancel() {
      question.cancel();
      timer.cancel();
    },
  };
}

// Puts one proxy before a control plane and writes down what others see of it; `original_compare.ts` compares two of these.
//   deno run -A tests/interop/original_watch.ts <what> [binary]
// In a network namespace of its own, as root. Prints JSON. Without a binary it is ours.
import { watchDemand } from "./original_demand.ts";
import { watchInbound } from "./original_inbound.ts";
import { watchOutbound } from "./original_outbound.ts";
import { watchPlaintext } from "./original_plaintext.ts";
import { watchRandom } from "./original_random.ts";
import { watchReadiness } from "./original_readiness.ts";
import { watchStarts } from "./original_start.ts";
import { watchState } from "./original_state.ts";

export const WATCHES: Readonly<Record<string, (binary: string | null) => Promise<unknown>>> = {
  state: watchState,
  outbound: watchOutbound,
  inbound: watchInbound,
  plaintext: watchPlaintext,
  readiness: watchReadiness,
  random: watchRandom,
  demand: watchDemand,
  starts: watchStarts,
};

if (import.meta.main) {
  const [what = "", binary = null] = Deno.args;
  const watch = WATCHES[what];
  if (watch === undefined) throw new Error(`Watches: ${Object.keys(WATCHES).join(", ")}`);
  const seen = JSON.stringify(await watch(binary));
  await new Response(seen).body!.pipeTo(Deno.stdout.writable);
  Deno.exit(0);
}

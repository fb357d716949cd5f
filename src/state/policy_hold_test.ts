// Tests of policy_hold.ts: which unknown policies are waited for (spec/xds-state-and-dns §1.7).
import { assertEquals } from "@std/assert";
import { PolicyHold, SETTLED_POLICIES_MAX } from "./policy_hold.ts";
import { workload } from "./resource_samples.ts";

const WEB = workload({ uid: "web" });

function applied(...unknown: readonly string[]) {
  return { selection: { namespace: "ns", listed: unknown }, policies: [], unknown };
}

Deno.test("PolicyHold waits for nothing where nobody pushes", () => {
  assertEquals(new PolicyHold().pending(WEB, applied("ns/p")), []);
});

Deno.test("PolicyHold waits from a push of addresses to the next of policies", () => {
  const hold = new PolicyHold();
  hold.progress("addresses");
  assertEquals(hold.pending(WEB, applied("ns/p", "ns/q")), ["ns/p", "ns/q"]);
  assertEquals(hold.pending(WEB, applied()), []);
  hold.progress("addresses");
  assertEquals(hold.pending(WEB, applied("ns/p")), ["ns/p"]);
  hold.progress("policies");
  assertEquals(hold.pending(WEB, applied("ns/p")), []);
});

Deno.test("PolicyHold waits once for each workload and policy, whatever is pushed later", () => {
  const hold = new PolicyHold();
  hold.progress("addresses");
  hold.settle("web", ["ns/p"]);
  assertEquals(hold.pending(WEB, applied("ns/p", "ns/q")), ["ns/q"]);
  assertEquals(hold.pending(workload({ uid: "other" }), applied("ns/p")), ["ns/p"]);
  hold.progress("policies");
  assertEquals(hold.pending(WEB, applied("ns/q")), []);
  hold.progress("addresses");
  assertEquals(hold.pending(WEB, applied("ns/p", "ns/q")), [], "q was answered for meanwhile");
});

Deno.test.each([-1, 0, 1])("PolicyHold remembers SETTLED_POLICIES_MAX pairs: %d more", (more) => {
  const hold = new PolicyHold();
  hold.progress("addresses");
  const count = SETTLED_POLICIES_MAX + more;
  for (let index = 0; index < count; index++) hold.settle("web", [`ns/${index}`]);
  assertEquals(hold.settled, more > 0 ? 1 : count);
  assertEquals(hold.pending(WEB, applied("ns/0")), more > 0 ? ["ns/0"] : []);
  assertEquals(hold.pending(WEB, applied(`ns/${count - 1}`)), []);
});

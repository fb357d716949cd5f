// Tests of state_figures.ts and state_mesh.ts: what is measured, and of what.
import { assertEquals } from "@std/assert";
import { MeshState } from "../../src/state/mesh_state.ts";
import { STATE_GOALS, STATE_MEASURES } from "./state_figures.ts";
import { benchMesh, CALLER, POLICIES, SERVICES, vipOf, WORKLOADS } from "./state_mesh.ts";

Deno.test("every goal of the state is about something that is measured", () => {
  const names = STATE_MEASURES.map(({ name }) => name);
  assertEquals(STATE_GOALS.filter(({ measure }) => !names.includes(measure)), []);
  assertEquals(new Set(names).size, names.length);
});

Deno.test("benchMesh() is as large as it says, with ten endpoints for each service", () => {
  const state = new MeshState(benchMesh());
  const sizes = [state.workloads.length, state.services.length, state.policies.length];
  assertEquals(sizes, [WORKLOADS, SERVICES, POLICIES]);
  assertEquals(state.services.every(({ endpoints }) => endpoints.size === 10), true);
  assertEquals(state.localWorkload(CALLER, null)?.name, CALLER.name);
  assertEquals(state.serviceByIp("", vipOf(SERVICES - 1), null)?.service.ports.has(15008), true);
});

// GET /debug/route: questions, answers and their traces, as an operator's curl sees them.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { VirtualClock } from "./base/virtual_clock.ts";
import { explainHandler, EXPLANATIONS_MAX } from "./explain.ts";
import { parseMeshFile } from "./state/mesh_file.ts";
import { MeshState } from "./state/mesh_state.ts";
import { StateRouter } from "./state/state_router.ts";

const MESH = `
workloads:
- uid: c//Pod/default/client
  name: client
  namespace: default
  serviceAccount: client
  trustDomain: cluster.local
  workloadIps: [127.0.0.2]
  protocol: HBONE
  services: {}
- uid: c//Pod/shop/web
  name: web
  namespace: shop
  serviceAccount: web
  trustDomain: cluster.local
  workloadIps: [127.0.0.3]
  protocol: HBONE
  services: { shop/web.shop.svc.cluster.local: { 80: 8080 } }
services:
- name: web
  namespace: shop
  hostname: web.shop.svc.cluster.local
  vips: [/10.96.0.1]
  ports: { 80: 8080 }
`;

const CLIENT = { namespace: "default", name: "client", serviceAccount: "client" };

class Desk {
  readonly clock = new VirtualClock();
  readonly #handler = explainHandler({
    router: new StateRouter({
      state: new MeshState(parseMeshFile(MESH, { source: "test" })),
      settings: {
        network: "",
        hbonePort: 15008,
        internalPorts: new Set([15001, 15006, 15008]),
        clusterDomain: "cluster.local",
        nodeName: null,
      },
      clock: this.clock,
      log() {},
    }),
    locals: [CLIENT],
    nodeName: null,
  });

  ask(query: string): Promise<Response> {
    const request = { method: "GET", path: "/debug/route", query, headers: new Headers() };
    return Promise.resolve(this.#handler(request));
  }

  // deno-lint-ignore no-explicit-any -- what JSON says
  async answer(query: string, waitMs = 1): Promise<any> {
    const asked = this.ask(query);
    this.clock.advance(waitMs);
    const response = await asked;
    assertEquals(response.status, 200);
    return await response.json();
  }
}

Deno.test("to=VIP: the route with its candidates, and what was looked up for it", async () => {
  const { question, route, trace } = await new Desk().answer("to=10.96.0.1:80");
  assertEquals(question.source, { ip: "127.0.0.2", port: 0 });
  assertEquals(route.candidates[0].hop.authority, "127.0.0.3:8080");
  assertEquals(route.candidates[0].hop.peer, { ip: "127.0.0.3", port: 15008 });
  const steps: string[] = trace.map(({ step }: { readonly step: string }) => step);
  for (const step of ["lookup", "endpoint", "candidate", "rule"]) {
    assertStringIncludes(steps.join(" "), step);
  }
});

Deno.test("a refusal is shown with its code and the access log's words", async () => {
  const { error } = await new Desk().answer("to=10.96.0.1:81");
  assertEquals(error, {
    code: "NO_HEALTHY_UPSTREAM",
    message: "no healthy upstream: 10.96.0.1:81",
  });
});

Deno.test("authority=: what a CONNECT from a peer would come to, for the workload named", async () => {
  const { route } = await new Desk().answer(
    "from=shop/web/web&authority=web.shop.svc.cluster.local:80&peer=127.0.0.2",
  );
  assertEquals(route.dial, { ip: "127.0.0.3", port: 8080 });
  assertEquals(route.source.name, "client");
});

Deno.test("an unknown workload is an error once its wait is over", async () => {
  const { error } = await new Desk().answer("from=a/b/c&to=10.96.0.1:80", 6_000);
  assertEquals(error.code, "WORKLOAD_UNKNOWN");
});

Deno.test.each(
  ["", "to=nowhere", "to=10.96.0.1", "from=a&to=10.96.0.1:80", "ip=x&to=10.96.0.1:80"]
    .concat("authority=a:b", "authority=a:80&peer=x")
    .map((query) => ({ query })),
)("?$query gets the usage and 400", async ({ query }) => {
  const response = await new Desk().ask(query);
  assertEquals(response.status, 400);
  assertStringIncludes(await response.text(), "usage: GET /debug/route");
});

Deno.test("EXPLANATIONS_MAX may wait at once; one more is refused, and finds room later", async () => {
  const desk = new Desk();
  const waiting = Array.from(
    { length: EXPLANATIONS_MAX },
    () => desk.ask("from=a/b/c&to=1.2.3.4:5"),
  );
  const more = await desk.ask("from=a/b/c&to=1.2.3.4:5");
  assertEquals([more.status, await more.text()], [503, "too many questions at once\n"]);
  desk.clock.advance(6_000);
  for (const response of await Promise.all(waiting)) await response.json();
  await desk.answer("to=10.96.0.1:80");
});

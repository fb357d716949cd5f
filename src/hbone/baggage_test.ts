import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { HeaderField } from "../h2/types.ts";
import type { BaggageFacts } from "../seam/events.ts";
import type { WorkloadFacts } from "../seam/workload.ts";
import { spiffeId } from "../tls/spiffe_id.ts";
import { encodeBaggage, NO_BAGGAGE, parseBaggage } from "./baggage.ts";

/** A workload that says nothing, but for what a test states. */
function workload(known: Partial<WorkloadFacts>): WorkloadFacts {
  return {
    uid: "Kubernetes//Pod/default/web-1",
    name: "web-1",
    namespace: "",
    trustDomain: "cluster.local",
    serviceAccount: "web",
    identity: spiffeId({
      trustDomain: "cluster.local",
      namespace: "default",
      serviceAccount: "web",
    }),
    workloadType: "",
    workloadName: "",
    canonicalName: "",
    canonicalRevision: "",
    clusterId: "",
    region: "",
    zone: "",
    ...known,
  };
}

function lines(...values: string[]): HeaderField[] {
  return values.map((value) => ({ name: "baggage", value }));
}

function facts(known: Partial<BaggageFacts>): BaggageFacts {
  return { ...NO_BAGGAGE, ...known };
}

Deno.test.each([
  {
    name: "writes what is known, in order",
    known: {
      clusterId: "Kubernetes",
      namespace: "default",
      workloadType: "deployment",
      workloadName: "web",
      canonicalName: "web",
      canonicalRevision: "v1",
    },
    expected: "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=web," +
      "service.name=web,service.version=v1",
  },
  {
    name: "ends with the locality",
    known: { canonicalName: "web", region: "r1", zone: "z1" },
    expected: "service.name=web,cloud.region=r1,cloud.availability_zone=z1",
  },
  {
    name: "has a key per workload type",
    known: { workloadType: "cronjob", workloadName: "tidy" },
    expected: "k8s.cronjob.name=tidy",
  },
  {
    name: "leaves out a workload of a type without key",
    known: { workloadType: "replicaset", workloadName: "web", namespace: "ns" },
    expected: "k8s.namespace.name=ns",
  },
  { name: "is empty for a workload without facts", known: {}, expected: "" },
  {
    name: "is empty where a name cannot travel",
    known: { namespace: "näme", clusterId: "K" },
    expected: "",
  },
])("encodeBaggage() $name", ({ known, expected }) => {
  assertEquals(encodeBaggage(workload(known)), expected);
});

const FIVE = [
  "k8s.cluster.name=K1",
  "k8s.namespace.name=NS1",
  "k8s.deployment.name=N1",
  "service.name=N2",
  "service.version=V1",
];
const FIVE_FACTS = facts({
  clusterId: "K1",
  namespace: "NS1",
  workloadType: "deployment",
  workloadName: "N1",
  service: "N2",
  revision: "V1",
});

Deno.test.each([
  { name: "reads one line", headers: lines(FIVE.join(",")), expected: FIVE_FACTS },
  { name: "reads several lines", headers: lines(...FIVE), expected: FIVE_FACTS },
  {
    name: "takes an empty value as absent",
    headers: lines("k8s.cluster.name=,service.name="),
    expected: NO_BAGGAGE,
  },
  { name: "knows nothing without the header", headers: [], expected: NO_BAGGAGE },
  {
    name: "does not trim keys",
    headers: lines("k8s.cluster.name=K1, service.name=X"),
    expected: facts({ clusterId: "K1" }),
  },
  {
    name: "lets later entries win",
    headers: lines("service.name=a,service.name=b", "service.name=c"),
    expected: facts({ service: "c" }),
  },
  {
    name: "lets an empty value clear an earlier one",
    headers: lines("k8s.pod.name=a", "k8s.job.name="),
    expected: NO_BAGGAGE,
  },
  {
    name: "drops what follows a second equals sign",
    headers: lines("service.name=a=b"),
    expected: facts({ service: "a" }),
  },
  {
    name: "skips unknown keys, pieces without value, and empty pieces",
    headers: lines("userId=alice,service.name,,cloud.region=r,cloud.availability_zone=z"),
    expected: facts({ region: "r", zone: "z" }),
  },
  {
    name: "reads every workload type",
    headers: lines("k8s.job.name=j"),
    expected: facts({ workloadType: "job", workloadName: "j" }),
  },
  {
    name: "does not look at other headers",
    headers: [{ name: "x-baggage", value: "service.name=a" }],
    expected: NO_BAGGAGE,
  },
])("parseBaggage() $name", ({ headers, expected }) => {
  assertEquals(parseBaggage(headers), expected);
});

Deno.test("parseBaggage() is unusable as a whole when a value is not visible ASCII", () => {
  assertEquals(parseBaggage(lines("service.name=a", "service.name=ä")), null);
});

Deno.test("parseBaggage() reads back what encodeBaggage() wrote", () => {
  const word = fc.stringMatching(/^[a-z0-9.-]{0,20}$/);
  fc.assert(fc.property(word, word, word, word, word, word, (a, b, c, d, e, f) => {
    const text = encodeBaggage(workload({
      clusterId: a,
      namespace: b,
      workloadType: "deployment",
      workloadName: c,
      canonicalName: d,
      region: e,
      zone: f,
    }));
    const absent = (value: string) => value === "" ? null : value;
    assertEquals(
      parseBaggage(lines(text)),
      facts({
        clusterId: absent(a),
        namespace: absent(b),
        workloadType: c === "" ? null : "deployment",
        workloadName: absent(c),
        service: absent(d),
        region: absent(e),
        zone: absent(f),
      }),
    );
  }));
});

Deno.test("parseBaggage() survives any text", () => {
  fc.assert(fc.property(fc.array(fc.string()), (values) => {
    const parsed = parseBaggage(lines(...values));
    assertEquals(parsed === null || Object.keys(parsed).length === 8, true);
  }));
});

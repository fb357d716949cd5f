// The `baggage` header: which workload is at the other end (spec/data-path §1.4). Pure.
import type { HeaderList } from "../h2/types.ts";
import type { BaggageFacts } from "../seam/events.ts";
import type { WorkloadFacts } from "../seam/workload.ts";
import { isVisibleAscii } from "./header_text.ts";

/** Workload types that have a key of their own, `k8s.<type>.name`. */
const WORKLOAD_TYPES: ReadonlySet<string> = new Set(["deployment", "cronjob", "pod", "job"]);

/**
 * The header's value for a workload; "" when nothing is known. Nothing is percent-encoded, so a
 * workload whose names are not visible ASCII (no orchestrator allows them) is described by "".
 */
export function encodeBaggage(workload: WorkloadFacts): string {
  let text = encoded.get(workload);
  if (text === undefined) {
    text = encode(workload);
    encoded.set(workload, text);
  }
  return text;
}

/** Facts never change, and those of a route serve all its connections. */
const encoded = new WeakMap<WorkloadFacts, string>();

function encode(workload: WorkloadFacts): string {
  let text = "";
  const add = (key: string, value: string) => {
    if (value !== "") text += `${text === "" ? "" : ","}${key}=${value}`;
  };
  add("k8s.cluster.name", workload.clusterId);
  add("k8s.namespace.name", workload.namespace);
  if (WORKLOAD_TYPES.has(workload.workloadType)) {
    add(`k8s.${workload.workloadType}.name`, workload.workloadName);
  }
  add("service.name", workload.canonicalName);
  add("service.version", workload.canonicalRevision);
  add("cloud.region", workload.region);
  add("cloud.availability_zone", workload.zone);
  return isVisibleAscii(text) ? text : "";
}

/** What a message without the header says. */
export const NO_BAGGAGE: BaggageFacts = {
  clusterId: null,
  namespace: null,
  workloadType: null,
  workloadName: null,
  service: null,
  revision: null,
  region: null,
  zone: null,
};

/**
 * Reads every `baggage` line of a message: later entries win, an empty value clears its field, keys are
 * compared exactly and untrimmed, unknown ones are skipped. Null when a value is not visible ASCII.
 */
export function parseBaggage(headers: HeaderList): BaggageFacts | null {
  const facts: { -readonly [Key in keyof BaggageFacts]: BaggageFacts[Key] } = { ...NO_BAGGAGE };
  for (const header of headers) {
    if (header.name !== "baggage") continue;
    if (!isVisibleAscii(header.value)) return null;
    for (const entry of header.value.split(",")) {
      // Anything after a second "=" is lost, as in the original.
      const [key, text] = entry.split("=");
      if (text === undefined) continue;
      const value = text === "" ? null : text;
      switch (key) {
        case "k8s.cluster.name":
          facts.clusterId = value;
          break;
        case "k8s.namespace.name":
          facts.namespace = value;
          break;
        case "k8s.deployment.name":
        case "k8s.cronjob.name":
        case "k8s.pod.name":
        case "k8s.job.name":
          facts.workloadType = value === null ? null : key.split(".")[1]!;
          facts.workloadName = value;
          break;
        case "service.name":
          facts.service = value;
          break;
        case "service.version":
          facts.revision = value;
          break;
        case "cloud.region":
          facts.region = value;
          break;
        case "cloud.availability_zone":
          facts.zone = value;
          break;
      }
    }
  }
  return facts;
}

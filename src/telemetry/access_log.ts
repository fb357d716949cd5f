// The access log (spec/config-and-observability §7.5): the data plane's facts as lines of scope `access`.
import { formatAddress } from "../base/address.ts";
import type {
  ConnectionEnd,
  ConnectionFacts,
  ConnectionRecord,
  EarlyFailure,
  Events,
  LogLevel,
  LogValue,
} from "../seam/events.ts";
import type { WorkloadFacts } from "../seam/workload.ts";
import type { LogFields } from "./log_event.ts";
import type { Logger } from "./logger.ts";

const SCOPE = "access";

/** Writes what the data plane reports. Costs one comparison where the filter drops the line. */
export class TelemetryEvents implements Events {
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  opened({ facts }: ConnectionRecord): void {
    if (!this.#logger.enabled("debug", SCOPE)) return;
    this.#logger.log("debug", SCOPE, "connection opened", connectionFields(facts));
  }

  closed(record: ConnectionRecord, end: ConnectionEnd): void {
    const level = end.error === null ? "info" : "error";
    if (!this.#logger.enabled(level, SCOPE)) return;
    this.#logger.log(level, SCOPE, "connection complete", completeFields(record, end));
  }

  failedEarly(failure: EarlyFailure): void {
    if (!this.#logger.enabled("warn", SCOPE)) return;
    this.#logger.log("warn", SCOPE, "connection failed", {
      "src.addr": { unquoted: formatAddress(failure.sourceAddress) },
      "dst.addr": { unquoted: formatAddress(failure.destinationAddress) },
      direction: failure.direction,
      error: failure.error.message,
    });
  }

  log(
    level: LogLevel,
    scope: string,
    message: string,
    fields?: Readonly<Record<string, LogValue>>,
  ): void {
    this.#logger.log(level, scope, message, fields);
  }
}

/** Fields 1 to 13, in order; undefined ones are left out by the formatter. */
function connectionFields(facts: ConnectionFacts): Record<string, LogValue | undefined> {
  const { source, sourceBaggage, destination, destinationBaggage, hboneAuthority } = facts;
  // Behind both gateways of a double tunnel only the far side knows what answered; the
  // gateway's own labels must not stand in for what it left out (spec §6.3).
  const far = facts.protocol === "DOUBLEHBONE" ? destinationBaggage : null;
  return {
    "src.addr": { unquoted: formatAddress(facts.sourceAddress) },
    "src.workload": source === null ? known(sourceBaggage?.service) : podName(source),
    "src.namespace": known((source ?? sourceBaggage)?.namespace),
    "src.identity": facts.mutualTls ? facts.sourceIdentity?.uri : undefined,
    "src.cluster": known((source ?? sourceBaggage)?.clusterId),
    "dst.addr": { unquoted: formatAddress(facts.destinationAddress) },
    "dst.hbone_addr": hboneAuthority === null ? undefined : { unquoted: hboneAuthority },
    "dst.service": known(facts.service?.hostname),
    "dst.workload": far !== null
      ? known(far.workloadName)
      : destination === null
      ? undefined
      : podName(destination),
    "dst.namespace": known((far ?? destination)?.namespace),
    "dst.identity": facts.mutualTls ? facts.destinationIdentity?.uri : undefined,
    "dst.cluster": known((far ?? destination)?.clusterId),
    direction: facts.direction,
  };
}

/** All fields, in order. Sent and received are seen from the local workload. */
function completeFields(record: ConnectionRecord, end: ConnectionEnd): LogFields {
  const { facts, bytesToServer, bytesToClient } = record;
  const fields = connectionFields(facts);
  const outbound = facts.direction === "outbound";
  fields["bytes_sent"] = outbound ? bytesToServer : bytesToClient;
  fields["bytes_recv"] = outbound ? bytesToClient : bytesToServer;
  fields["duration"] = `${Math.floor(end.durationMs)}ms`;
  fields["error"] = end.error?.message;
  return fields;
}

function podName(workload: WorkloadFacts): string | undefined {
  return known(workload.name) ?? known(workload.canonicalName);
}

/** Unknown is "" in a workload's facts and null in baggage. */
function known(text: string | null | undefined): string | undefined {
  return text === "" || text === null ? undefined : text;
}

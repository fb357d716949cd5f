// The xDS client: one delta stream after the other for as long as the process lives (spec/xds-state-and-dns §1).
import { type Cancel, NOTHING_TO_CANCEL } from "../base/channel.ts";
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { MeshSink } from "../state/mesh_update.ts";
import type { OnDemand } from "../state/on_demand.ts";
import { requestHeaders } from "./auth.ts";
import { Demands } from "./demands.ts";
import { FirstAnswers } from "./first_answers.ts";
import { GrpcError } from "./grpc_error.ts";
import type { NodeIdentity } from "./node_identity.ts";
import { openTransport } from "./open_transport.ts";
import { afterStream, FIRST_RECONNECT } from "./reconnect.ts";
import { type AppliedType, ResponseHandler } from "./response_handler.ts";
import { XDS_SCOPE, type XdsLog, type XdsReport, type XdsSettings } from "./settings.ts";
import { endLine, type StreamEnd, terminationOf } from "./stream_end.ts";
import type { GrpcTransport } from "./transport.ts";
import type { ReadFile } from "./trust_roots.ts";
import { sleep } from "./turns.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, DELTA_PATH } from "./types.ts";
import { VersionCache } from "./version_cache.ts";
import { runXdsStream, SUBSCRIBED_TYPES } from "./xds_stream.ts";

export interface XdsClientOptions {
  readonly settings: XdsSettings;
  readonly node: NodeIdentity;
  /** Where the mesh goes. One response at a time; the next is not read before this one is applied. */
  readonly sink: MeshSink;
  readonly clock: Clock;
  readonly log: XdsLog;
  readonly report: XdsReport;
  /** Addresses are asked for one by one, with {@link XdsClient.want}. */
  readonly onDemand: boolean;
  /** Every expected type got its first good answer (§1.11). Called once. */
  readonly onReady: () => void;
  /** Readers see a response of that type, whether all of it was good or not. */
  readonly onApplied: (type: AppliedType) => void;
  /** For tests; the settings' own otherwise. */
  readonly transport?: GrpcTransport;
  /** Draws the jitter that shortens back-offs; none of it (the original's waits, to the letter) without. */
  readonly random?: Random | null;
  /** Reads the token file, for each stream. */
  readonly readFile?: ReadFile;
}

/** Follows the control plane. What it said stays in force while nobody can be reached. */
export class XdsClient implements OnDemand {
  readonly #options: XdsClientOptions;
  readonly #transport: GrpcTransport;
  readonly #versions = new VersionCache(SUBSCRIBED_TYPES);
  readonly #demands: Demands | null;
  readonly #answers: FirstAnswers;

  constructor(options: XdsClientOptions) {
    this.#options = options;
    const { settings, clock, onDemand, onReady, readFile } = options;
    this.#transport = options.transport ?? openTransport(settings, clock, readFile);
    this.#demands = onDemand ? this.#openDemands() : null;
    this.#answers = new FirstAnswers(onDemand ? [AUTHORIZATION_TYPE] : SUBSCRIBED_TYPES, onReady);
  }

  /**
   * Connects, and again whenever it must, until `signal` aborts; then nothing stays open. Call it once.
   * @throws Only what is a bug.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, report, settings, random } = this.#options;
    let reconnect = FIRST_RECONNECT;
    for (let id = 1; !signal.aborted; id++) {
      const startedMs = clock.nowMs();
      const spans = [{ name: "xds", fields: { id } }];
      const inSpan: XdsLog = (level, scope, message, fields) =>
        log(level, scope, message, fields, spans);
      const end = await this.#runStream(inSpan, signal);
      if (signal.aborted) return;
      const reason = terminationOf(end);
      report.terminated(reason);
      const { sleepMs, next } = afterStream(reconnect, {
        reason,
        livedMs: clock.nowMs() - startedMs,
        jitter: random ? random.uint32() / 0x1_0000_0000 : 0,
      });
      reconnect = next;
      const { level, text } = endLine(end, { address: settings.address, sleepMs });
      inSpan(level, XDS_SCOPE, text);
      await sleep(clock, sleepMs, signal);
    }
  }

  /** See {@link OnDemand}. Without on-demand mode there is nothing to ask for, and `done` is never called. */
  want(key: string, done: () => void): Cancel {
    return this.#demands?.want(key, done) ?? NOTHING_TO_CANCEL;
  }

  async #runStream(log: XdsLog, signal: AbortSignal): Promise<StreamEnd> {
    const { settings, node, clock, sink, report, onApplied, readFile } = this.#options;
    const versions = this.#versions;
    const demands = this.#demands;
    let headers;
    try {
      headers = await requestHeaders(settings, readFile);
    } catch (error) {
      if (!(error instanceof GrpcError)) throw error;
      return { kind: "failed", opened: false, code: error.code, status: error.status };
    }
    const onNamed = demands === null ? null : (key: string) => demands.answered(key);
    const handler = new ResponseHandler({
      clock,
      sink,
      versions,
      report,
      log,
      onNamed,
      onApplied,
    });
    return await runXdsStream({
      stream: this.#transport.openStream(DELTA_PATH, headers, signal),
      node,
      versions,
      handler,
      demands,
      log,
      onAcked: (typeUrl) => this.#answers.acked(typeUrl),
      signal,
    });
  }

  #openDemands(): Demands {
    const versions = this.#versions;
    return new Demands({
      clock: this.#options.clock,
      onNew: (key) => versions.asked(ADDRESS_TYPE, key),
      onForgotten: (key) => versions.removed(ADDRESS_TYPE, key),
    });
  }
}

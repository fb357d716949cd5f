// One response from its bytes to the state: read, decode, convert, apply, remember; then the answer (spec/xds-state-and-dns §1.6).
import type { Clock } from "../base/clock.ts";
import type { Policy } from "../rbac/policy.ts";
import type { MeshResource, MeshSink, MeshUpdate } from "../state/mesh_update.ts";
import { decodeAddress, decodeAuthorization, payloadOf } from "./convert.ts";
import { DeltaResponseReader, type RawResource } from "./delta_response.ts";
import { NackText } from "./nack_text.ts";
import { ResourceError } from "./resource_error.ts";
import { XDS_SCOPE, type XdsLog, type XdsReport } from "./settings.ts";
import { Slices } from "./turns.ts";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "./types.ts";
import { NAMES_MAX, type VersionCache } from "./version_cache.ts";

/** Fields read between two looks at the clock: some 100 µs. */
const FIELDS_PER_LOOK = 1_000;

/** Names handled between two looks at the clock. */
const NAMES_PER_LOOK = 1_000;

export type AppliedType = MeshUpdate["kind"];

export interface ResponseHandlerOptions {
  readonly clock: Clock;
  readonly sink: MeshSink;
  readonly versions: VersionCache;
  readonly report: XdsReport;
  readonly log: XdsLog;
  /** Readers see the response; it named this key. */
  readonly onNamed: ((key: string) => void) | null;
  /** Readers see a response of this type. */
  readonly onApplied: (type: AppliedType) => void;
  /** Names kept of one type; {@link NAMES_MAX} unless told otherwise. */
  readonly namesMax?: number;
}

/** What is said back: an ACK, or a NACK with its text. */
export interface Reply {
  readonly typeUrl: string;
  readonly nonce: string;
  /** Null: an ACK. */
  readonly rejected: string | null;
}

/** Handles one response after the other; the loop is never held longer than {@link Slices} says. */
export class ResponseHandler {
  readonly #options: ResponseHandlerOptions;
  readonly #namesMax: number;

  constructor(options: ResponseHandlerOptions) {
    this.#options = options;
    this.#namesMax = options.namesMax ?? NAMES_MAX;
  }

  /**
   * @param message A whole DeltaDiscoveryResponse, ours to keep.
   * @param signal Ends the work between two slices, or while the state takes the update; then the result means nothing.
   * @throws {DeltaResponseError} if it cannot be read at all; nothing was applied then.
   */
  async handle(message: Uint8Array, signal: AbortSignal): Promise<Reply> {
    const { clock, report, log, onApplied } = this.#options;
    const slices = new Slices(clock);
    const response = new DeltaResponseReader(message);
    while (!response.read(FIELDS_PER_LOOK)) if (slices.isOver) await slices.pause();
    const { typeUrl, nonce, resources, removed } = response;
    let payloadBytes = 0;
    for (const resource of resources) payloadBytes += resource.payloadBytes;
    report.message(typeUrl, payloadBytes);
    log("debug", XDS_SCOPE, "received response", {
      type_url: typeUrl,
      size: resources.length,
      removes: removed.length,
    });
    if (typeUrl !== ADDRESS_TYPE && typeUrl !== AUTHORIZATION_TYPE) {
      log("error", XDS_SCOPE, "unknown type", { type_url: typeUrl });
      return { typeUrl, nonce, rejected: null };
    }
    const nack = new NackText();
    const accepted: RawResource[] = [];
    const update = await this.#convert(response, { accepted, nack, slices });
    if (update.set.length > 0 || removed.length > 0) await this.#apply(update, signal);
    if (!signal.aborted) {
      await this.#remember(response, accepted, slices);
      onApplied(update.kind);
    }
    return { typeUrl, nonce, rejected: nack.text() };
  }

  /** Every resource on its own: the bad ones go into the NACK, the good ones into the update. */
  async #convert(
    { typeUrl, resources, removed }: DeltaResponseReader,
    { accepted, nack, slices }: {
      readonly accepted: RawResource[];
      readonly nack: NackText;
      readonly slices: Slices;
    },
  ): Promise<MeshUpdate> {
    const addresses: MeshResource[] = [];
    const policies: { readonly name: string; readonly policy: Policy }[] = [];
    const known = this.#options.versions.of(typeUrl);
    let room = this.#namesMax - known.size;
    for (const resource of resources) {
      if (slices.isOver) await slices.pause();
      const { name } = resource;
      try {
        const payload = payloadOf(resource);
        const isNew = !known.has(name);
        if (isNew && room <= 0) {
          const reason = `more than ${this.#namesMax} resources`;
          throw new ResourceError(reason, { kind: "convert" });
        }
        if (typeUrl === ADDRESS_TYPE) addresses.push(decodeAddress(payload, name));
        else policies.push({ name, policy: decodeAuthorization(payload) });
        if (isNew) room--;
        accepted.push(resource);
      } catch (error) {
        if (!(error instanceof ResourceError)) throw error;
        nack.add(name, error.message, error.kind);
      }
    }
    return typeUrl === ADDRESS_TYPE
      ? { kind: "addresses", set: addresses, removed }
      : { kind: "policies", set: policies, removed };
  }

  #apply(update: MeshUpdate, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const ended = () => {
        signal.removeEventListener("abort", ended);
        resolve();
      };
      signal.addEventListener("abort", ended, { once: true });
      this.#options.sink.apply(update, ended);
    });
  }

  /** Versions first, then those who wait: they must find both. */
  async #remember(
    { typeUrl, resources, removed }: DeltaResponseReader,
    accepted: readonly RawResource[],
    slices: Slices,
  ): Promise<void> {
    const { versions, onNamed } = this.#options;
    let handled = 0;
    const isTimeToLook = () => ++handled % NAMES_PER_LOOK === 0 && slices.isOver;
    for (const { name, version } of accepted) {
      versions.accepted(typeUrl, name, version);
      if (isTimeToLook()) await slices.pause();
    }
    for (const name of removed) {
      versions.removed(typeUrl, name);
      if (isTimeToLook()) await slices.pause();
    }
    if (onNamed === null || typeUrl !== ADDRESS_TYPE) return;
    for (const { name, aliases } of resources) {
      onNamed(name);
      for (const alias of aliases) {
        onNamed(alias);
        if (isTimeToLook()) await slices.pause();
      }
      if (isTimeToLook()) await slices.pause();
    }
    for (const name of removed) {
      onNamed(name);
      if (isTimeToLook()) await slices.pause();
    }
  }
}

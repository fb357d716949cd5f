// One resource's bytes to one value, or a ResourceError with the reason (spec/xds-state-and-dns §1.6, §2.5).
import { Reader } from "protobufjs/minimal";
import { istio } from "../proto/messages.js";
import type { Codec } from "../proto/messages.js";
import type { Policy } from "../rbac/policy.ts";
import type { MeshResource } from "../state/mesh_update.ts";
import { convertPolicy } from "./convert_policy.ts";
import { convertService } from "./convert_service.ts";
import { convertWorkload } from "./convert_workload.ts";
import type { RawResource } from "./delta_response.ts";
import { cannotConvert, ResourceError } from "./resource_error.ts";
import { TextCache } from "./text.ts";

/**
 * Bytes of one resource. Kubernetes objects end at 1.5 MiB; decoding this much takes some 100 ms at worst, and the values
 * up to a hundred times the memory while it runs.
 */
export const PAYLOAD_BYTES_MAX = 2 * 1024 * 1024;

/**
 * The bytes of a resource.
 * @throws {ResourceError} of kind "decode" if it is broken outside, or has none.
 */
export function payloadOf(resource: RawResource): Uint8Array {
  if (resource.error !== null) throw new ResourceError(resource.error, { kind: "decode" });
  const { payload } = resource;
  if (payload === null) throw new ResourceError("XDS payload without resource", { kind: "decode" });
  return payload;
}

/**
 * Reads a workload or a service. Nothing of `payload` is kept.
 * @param name The resource's name; when the workload's uid is equal, one string serves for both.
 * @throws {ResourceError}
 */
export function decodeAddress(payload: Uint8Array, name?: string): MeshResource {
  const { type, workload, service } = decode(istio.workload.Address, payload);
  if (type === "workload") return { kind: "workload", workload: convertWorkload(workload!, name) };
  if (type === "service") return { kind: "service", service: convertService(service!) };
  throw cannotConvert("unknown address type");
}

/**
 * Reads a policy. Nothing of `payload` is kept.
 * @throws {ResourceError}
 */
export function decodeAuthorization(payload: Uint8Array): Policy {
  return convertPolicy(decode(istio.security.Authorization, payload));
}

/** The generated code asks a reader for its strings: this one gives flat ones that equal bytes share. */
class SharingReader extends Reader {
  readonly #texts = new TextCache();

  override stringVerify(): string {
    const length = this.size();
    const start = this.pos;
    const end = start + length;
    if (end > this.len) {
      throw new RangeError(`${length} bytes announced, ${this.len - start} there`);
    }
    this.pos = end;
    return this.#texts.read(this.buf, start, end);
  }

  /** Makes it read these bytes next. */
  turnTo(bytes: Uint8Array): void {
    this.buf = bytes;
    this.pos = 0;
    this.len = bytes.length;
    this.view = null;
  }
}

const NO_BYTES = new Uint8Array();
const reader = new SharingReader(NO_BYTES);

function decode<Message>(codec: Codec<Message>, payload: Uint8Array): Message {
  if (payload.length > PAYLOAD_BYTES_MAX) {
    const message = `decode: ${payload.length} bytes, limit is ${PAYLOAD_BYTES_MAX}`;
    throw new ResourceError(message, { kind: "decode" });
  }
  reader.turnTo(payload);
  try {
    return codec.decode(reader);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ResourceError(`decode: ${reason}`, { kind: "decode", cause: error });
  } finally {
    // What is read next must not find the last response in memory.
    reader.turnTo(NO_BYTES);
  }
}

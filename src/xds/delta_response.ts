// Reads one DeltaDiscoveryResponse piece by piece: 200 MiB of whatever never hold the loop, and a resource that is broken
// inside does not take the others with it (spec/xds-state-and-dns §1.4, §1.6).
import { Reader } from "protobufjs/minimal";
import { assert } from "../base/assert.ts";
import { ProxyError } from "../base/errors.ts";
import { readText } from "./text.ts";

/** Resources in one response. 10,000 pods make 11,000; empty ones cost two bytes on the wire and a hundred here. */
export const RESOURCES_MAX = 1_000_000;

/** Removed names in one response. */
export const REMOVED_MAX = 1_000_000;

/** Aliases kept of one response; further ones wake nobody. */
export const ALIASES_MAX = 1_000_000;

/** Bytes of a name, version, nonce or type; Kubernetes names make less than 1,000. */
export const NAME_BYTES_MAX = 8_192;

/** How deep groups may nest that we only skip. */
export const GROUPS_MAX = 100;

/** The response cannot be read on, or is larger than any mesh: none of it is used and the stream ends. */
export class DeltaResponseError extends ProxyError {
  readonly code: "RESPONSE_MALFORMED" | "RESPONSE_TOO_LARGE";

  constructor(
    message: string,
    options: ErrorOptions & { readonly code: DeltaResponseError["code"] },
  ) {
    super(message, options);
    this.code = options.code;
  }
}

const NO_ALIASES: readonly string[] = Object.freeze([]);

/** One resource of a response, not yet decoded. */
export class RawResource {
  /** "" when it has none. */
  name = "";
  /** May be "". */
  version = "";
  aliases: readonly string[] = NO_ALIASES;
  /** Why the resource itself cannot be read (`decode: …`); what was read before stays. Null when it can. */
  error: string | null = null;
  readonly #message: Uint8Array;
  #start = -1;
  #end = -1;

  constructor(message: Uint8Array) {
    this.#message = message;
  }

  /** The bytes of the `Any`: a view of the response. Null when the resource has none. */
  get payload(): Uint8Array | null {
    return this.hasPayload ? this.#message.subarray(this.#start, this.#end) : null;
  }

  /** False: the resource came without an `Any`. */
  get hasPayload(): boolean {
    return this.#start >= 0;
  }

  /** Octets of {@link payload}, 0 when there is none. */
  get payloadBytes(): number {
    return this.#end - this.#start;
  }

  /** For the reader: where the payload lies. An `Any` without a value has an empty one. */
  place(start: number, end: number): void {
    this.#start = start;
    this.#end = end;
  }
}

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const GROUP_START = 3;
const GROUP_END = 4;
const FIXED32 = 5;

/**
 * Walks a response. `read()` until it says true; then the fields hold the whole response. `message` is a loan: it must not
 * change while resources are in use.
 */
export class DeltaResponseReader {
  typeUrl = "";
  nonce = "";
  /** In message order, with whatever name they have. */
  readonly resources: RawResource[] = [];
  /** In message order. */
  readonly removed: string[] = [];

  readonly #reader: Reader;
  readonly #end: number;
  /** The resource we are inside of, where it ends, and where the `Any` inside it ends (-1: we are not inside one). */
  #resource: RawResource | null = null;
  #resourceEnd = -1;
  #anyEnd = -1;
  /** Field numbers of the unknown groups we are inside of. */
  readonly #groups: number[] = [];
  #aliases: string[] | null = null;
  #aliasCount = 0;

  constructor(message: Uint8Array) {
    this.#reader = new Reader(message);
    this.#end = message.length;
  }

  /**
   * Reads at most `fieldsMax` fields more, each in bounded time (some 100 ns; a name of NAME_BYTES_MAX some µs).
   * @returns True once the whole response is read.
   * @throws {DeltaResponseError} Once; the reader is of no use afterwards.
   */
  read(fieldsMax: number): boolean {
    assert(fieldsMax > 0, "Asked for nothing");
    try {
      for (let left = fieldsMax; left > 0; left--) {
        if (this.#resource !== null) this.#readInsideResource(this.#resource);
        else if (this.#reader.pos < this.#end) this.#readField();
        else break;
      }
      if (this.#resource !== null || this.#reader.pos < this.#end) return false;
      if (this.#groups.length > 0) throw new Error("missing end group");
      return true;
    } catch (error) {
      if (error instanceof ProxyError) throw error;
      throw new DeltaResponseError(`Cannot read the response: ${textOf(error)}`, {
        code: "RESPONSE_MALFORMED",
        cause: error,
      });
    }
  }

  #readField(): void {
    const tag = this.#nextTag();
    if (tag < 0) return;
    if ((tag & 7) === DELIMITED) {
      switch (tag >>> 3) {
        case 2:
          if (this.resources.length === RESOURCES_MAX) throw tooMany("resources", RESOURCES_MAX);
          this.#enterResource();
          return;
        case 4:
          this.typeUrl = this.#readName();
          return;
        case 5:
          this.nonce = this.#readName();
          return;
        case 6:
          if (this.removed.length === REMOVED_MAX) throw tooMany("removed names", REMOVED_MAX);
          this.removed.push(this.#readName());
          return;
        default:
          break;
      }
    }
    this.#skip(tag & 7);
  }

  #enterResource(): void {
    const reader = this.#reader;
    this.#resourceEnd = this.#delimitedEnd();
    reader.len = this.#resourceEnd;
    this.#resource = new RawResource(reader.buf);
    this.resources.push(this.#resource);
    if (reader.pos === this.#resourceEnd) this.#leaveResource();
  }

  #leaveResource(): void {
    this.#reader.pos = this.#resourceEnd;
    this.#reader.len = this.#end;
    this.#resource = null;
    this.#anyEnd = -1;
    this.#aliases = null;
    this.#groups.length = 0;
  }

  /** One field of the resource, or of the `Any` in it. */
  #readInsideResource(resource: RawResource): void {
    const reader = this.#reader;
    try {
      const tag = this.#nextTag();
      if (tag >= 0) {
        if (this.#anyEnd >= 0) this.#readAnyField(resource, tag);
        else this.#readResourceField(resource, tag);
      }
      if (reader.pos === this.#anyEnd) {
        this.#closeGroups();
        this.#anyEnd = -1;
        reader.len = this.#resourceEnd;
      }
      if (reader.pos < this.#resourceEnd) return;
      this.#closeGroups();
    } catch (error) {
      resource.error = `decode: ${textOf(error)}`;
    }
    this.#leaveResource();
  }

  #readResourceField(resource: RawResource, tag: number): void {
    if ((tag & 7) === DELIMITED) {
      switch (tag >>> 3) {
        case 1:
          resource.version = this.#readName();
          return;
        case 2:
          this.#anyEnd = this.#delimitedEnd();
          this.#reader.len = this.#anyEnd;
          // A second one is merged into the first: its value stays until another comes.
          if (!resource.hasPayload) resource.place(this.#anyEnd, this.#anyEnd);
          return;
        case 3:
          resource.name = this.#readName();
          return;
        case 4:
          this.#keepAlias(resource, this.#readName());
          return;
        default:
          break;
      }
    }
    this.#skip(tag & 7);
  }

  #readAnyField(resource: RawResource, tag: number): void {
    if (tag !== (2 << 3 | DELIMITED)) return this.#skip(tag & 7);
    const end = this.#delimitedEnd();
    resource.place(this.#reader.pos, end);
    this.#reader.pos = end;
  }

  #keepAlias(resource: RawResource, alias: string): void {
    if (this.#aliasCount === ALIASES_MAX) return;
    this.#aliasCount++;
    if (this.#aliases === null) resource.aliases = this.#aliases = [];
    this.#aliases.push(alias);
  }

  /** The tag of a field to look at, or -1 when it belonged to an unknown group and is already behind us. */
  #nextTag(): number {
    const reader = this.#reader;
    const tag = reader.tag();
    const type = tag & 7;
    const field = tag >>> 3;
    if (field === 0) throw new Error("illegal tag: field number 0");
    if (type === GROUP_START) {
      if (this.#groups.length === GROUPS_MAX) throw new Error("max depth exceeded");
      this.#groups.push(field);
      return -1;
    }
    if (type === GROUP_END) {
      if (this.#groups.pop() !== field) throw new Error("invalid end group tag");
      return -1;
    }
    if (this.#groups.length === 0) return tag;
    this.#skip(type);
    return -1;
  }

  #closeGroups(): void {
    if (this.#groups.length > 0) throw new Error("missing end group");
  }

  #skip(type: number): void {
    const reader = this.#reader;
    switch (type) {
      case VARINT:
        // At most ten bytes, where protobufjs's own skip() would follow a varint without end.
        reader.bool();
        return;
      case FIXED64:
        reader.skip(8);
        return;
      case DELIMITED:
        reader.pos = this.#delimitedEnd();
        return;
      case FIXED32:
        reader.skip(4);
        return;
      default:
        throw new Error(`invalid wire type ${type}`);
    }
  }

  /** Reads a length; gives where the bytes after it end. */
  #delimitedEnd(): number {
    const reader = this.#reader;
    const length = reader.size();
    const end = reader.pos + length;
    if (end > reader.len) {
      throw new RangeError(`${length} bytes announced, ${reader.len - reader.pos} there`);
    }
    return end;
  }

  #readName(): string {
    const reader = this.#reader;
    const end = this.#delimitedEnd();
    const start = reader.pos;
    if (end - start > NAME_BYTES_MAX) {
      throw new RangeError(`a name of ${end - start} bytes, limit is ${NAME_BYTES_MAX}`);
    }
    reader.pos = end;
    return readText(reader.buf, start, end);
  }
}

function tooMany(what: string, max: number): DeltaResponseError {
  return new DeltaResponseError(`Cannot take a response of more than ${max} ${what}`, {
    code: "RESPONSE_TOO_LARGE",
  });
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

// nghttp2's HPACK as a peer: the library that its deflatehd and inflatehd are made of, by FFI.
import type { HeaderField, HeaderList } from "../../src/h2/types.ts";

const LIBRARY = "libnghttp2.so.14";

/** Why a test cannot run here; thrown, never skipped. */
const MISSING = `Cannot load ${LIBRARY}, nghttp2's own HPACK code, which this test talks to. ` +
  "Install it (Debian, Ubuntu: apt-get install libnghttp2-14) and run again.";

const SYMBOLS = {
  nghttp2_hd_deflate_new: { parameters: ["buffer", "usize"], result: "i32" },
  nghttp2_hd_deflate_del: { parameters: ["pointer"], result: "void" },
  nghttp2_hd_deflate_change_table_size: { parameters: ["pointer", "usize"], result: "i32" },
  nghttp2_hd_deflate_hd: {
    parameters: ["pointer", "buffer", "usize", "buffer", "usize"],
    result: "isize",
  },
  nghttp2_hd_inflate_new: { parameters: ["buffer"], result: "i32" },
  nghttp2_hd_inflate_del: { parameters: ["pointer"], result: "void" },
  nghttp2_hd_inflate_change_table_size: { parameters: ["pointer", "usize"], result: "i32" },
  nghttp2_hd_inflate_end_headers: { parameters: ["pointer"], result: "i32" },
  nghttp2_hd_inflate_hd2: {
    parameters: ["pointer", "buffer", "buffer", "buffer", "usize", "i32"],
    result: "isize",
  },
  nghttp2_hd_inflate_get_dynamic_table_size: { parameters: ["pointer"], result: "usize" },
} as const;

/** `nghttp2_nv`: name, value, their lengths, flags. */
const FIELD_STRUCT_BYTES = 40;
const NO_INDEX = 0x01;
const INFLATE_FINAL = 0x01;
const INFLATE_EMIT = 0x02;

/** @throws {Error} saying what to install. */
function open(): Deno.DynamicLibrary<typeof SYMBOLS> {
  try {
    return Deno.dlopen(LIBRARY, SYMBOLS);
  } catch (cause) {
    throw new Error(MISSING, { cause });
  }
}

function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** Memory whose address is needed: an empty buffer has none. */
function addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
  return bytes.length === 0 ? 0n : Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
}

function pointerAt(memory: DataView, offset: number): Deno.PointerObject | null {
  return Deno.UnsafePointer.create(memory.getBigUint64(offset, true)) as Deno.PointerObject | null;
}

/** A call of nghttp2 gave a negative number: -523 is a malformed header block. */
export class Nghttp2Failure extends Error {
  override readonly name = "Nghttp2Failure";

  constructor(readonly result: number) {
    super(`nghttp2 answered ${result}`);
  }
}

function checked(result: number | bigint): number {
  if (Number(result) < 0) throw new Nghttp2Failure(Number(result));
  return Number(result);
}

/** nghttp2 as the side that encodes (`deflatehd`). */
export class Nghttp2Encoder implements Disposable {
  readonly #library = open();
  readonly #handle: Deno.PointerValue;

  constructor(tableBytes = 4096) {
    const slot = new BigUint64Array(1);
    checked(this.#library.symbols.nghttp2_hd_deflate_new(slot, BigInt(tableBytes)));
    this.#handle = Deno.UnsafePointer.create(slot[0]!);
  }

  setPeerTableBytes(bytes: number): void {
    checked(
      this.#library.symbols.nghttp2_hd_deflate_change_table_size(this.#handle, BigInt(bytes)),
    );
  }

  /** @param isSensitive Which fields go as "never indexed". */
  encode(headers: HeaderList, isSensitive: (field: HeaderField) => boolean): Uint8Array {
    const structs = new DataView(new ArrayBuffer(headers.length * FIELD_STRUCT_BYTES));
    const memory: Uint8Array<ArrayBuffer>[] = []; // Held until the call is over.
    let bytes = 64;
    headers.forEach((field, i) => {
      const name = latin1(field.name);
      const value = latin1(field.value);
      memory.push(name, value);
      bytes += name.length + value.length + 32;
      const at = i * FIELD_STRUCT_BYTES;
      structs.setBigUint64(at, addressOf(name), true);
      structs.setBigUint64(at + 8, addressOf(value), true);
      structs.setBigUint64(at + 16, BigInt(name.length), true);
      structs.setBigUint64(at + 24, BigInt(value.length), true);
      structs.setUint8(at + 32, isSensitive(field) ? NO_INDEX : 0);
    });
    const target = new Uint8Array(bytes);
    const length = this.#library.symbols.nghttp2_hd_deflate_hd(
      this.#handle,
      target,
      BigInt(bytes),
      structs.buffer,
      BigInt(headers.length),
    );
    return target.subarray(0, checked(length));
  }

  [Symbol.dispose](): void {
    this.#library.symbols.nghttp2_hd_deflate_del(this.#handle);
    this.#library.close();
  }
}

/** nghttp2 as the side that decodes (`inflatehd`). */
export class Nghttp2Decoder implements Disposable {
  readonly #library = open();
  readonly #handle: Deno.PointerValue;

  constructor() {
    const slot = new BigUint64Array(1);
    checked(this.#library.symbols.nghttp2_hd_inflate_new(slot));
    this.#handle = Deno.UnsafePointer.create(slot[0]!);
  }

  get tableBytes(): number {
    return Number(this.#library.symbols.nghttp2_hd_inflate_get_dynamic_table_size(this.#handle));
  }

  setTableBytesMax(bytes: number): void {
    checked(
      this.#library.symbols.nghttp2_hd_inflate_change_table_size(this.#handle, BigInt(bytes)),
    );
  }

  /** @throws {Nghttp2Failure} if it finds the block malformed. */
  decode(block: Uint8Array): HeaderField[] {
    const found: HeaderField[] = [];
    const field = new DataView(new ArrayBuffer(FIELD_STRUCT_BYTES));
    const flags = new Int32Array(1);
    // One octet more, so that what is left always has an address.
    const input = new Uint8Array(block.length + 1);
    input.set(block);
    for (let offset = 0;;) {
      flags[0] = 0;
      offset += checked(this.#library.symbols.nghttp2_hd_inflate_hd2(
        this.#handle,
        field.buffer,
        flags,
        input.subarray(offset),
        BigInt(block.length - offset),
        1,
      ));
      if ((flags[0]! & INFLATE_EMIT) !== 0) {
        found.push({ name: this.#text(field, 0), value: this.#text(field, 8) });
      } else if ((flags[0]! & INFLATE_FINAL) !== 0) {
        this.#library.symbols.nghttp2_hd_inflate_end_headers(this.#handle);
        return found;
      } else if (offset === block.length) {
        throw new Nghttp2Failure(0);
      }
    }
  }

  #text(field: DataView, at: 0 | 8): string {
    const length = Number(field.getBigUint64(at + 16, true));
    const pointer = pointerAt(field, at);
    if (pointer === null || length === 0) return "";
    const bytes = new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, length));
    let text = "";
    for (const octet of bytes) text += String.fromCharCode(octet);
    return text;
  }

  [Symbol.dispose](): void {
    this.#library.symbols.nghttp2_hd_inflate_del(this.#handle);
    this.#library.close();
  }
}

// What a provider says about itself, by OSSL_PROVIDER_get_params.
import { assert } from "../../base/assert.ts";
import type { FipsSymbols } from "./fips_symbols.ts";
import { nativeBytes } from "./native_bytes.ts";

/** As the provider gives them. */
export interface ProviderParameters {
  /** Such as `OpenSSL FIPS Provider`. */
  readonly name: string;
  /** Such as `3.0.8`. */
  readonly version: string;
  /** 1 while it works, 0 in its error state. */
  readonly status: number;
}

/** `struct ossl_param_st` on 64-bit machines: key, type (and 4 octets of nothing), data, its size, the returned size. */
const PARAM_BYTES = 40;
const PARAM_INTEGER = 1;
const PARAM_UTF8_PTR = 6;

/** Asks a loaded provider. At start, while the isolate has unscoped ffi. */
export function readProviderParameters(
  c: Pick<FipsSymbols, "OSSL_PROVIDER_get_params">,
  provider: Deno.PointerObject,
): ProviderParameters {
  // Each record refers to its key and its answer by address only: both are held here until the answers are read.
  const records = ["name", "version", "status"].map((key) => ({
    key: new TextEncoder().encode(`${key}\0`),
    answer: nativeBytes(8),
    type: key === "status" ? PARAM_INTEGER : PARAM_UTF8_PTR,
  }));
  // The list ends with a record of zeros.
  const list = nativeBytes(PARAM_BYTES * (records.length + 1));
  const view = new DataView(list.buffer);
  for (const [index, { key, answer, type }] of records.entries()) {
    const at = index * PARAM_BYTES;
    view.setBigUint64(at, addressOf(key), true);
    view.setUint32(at + 8, type, true);
    view.setBigUint64(at + 16, addressOf(answer), true);
    view.setBigUint64(at + 24, type === PARAM_INTEGER ? 4n : 0n, true);
  }
  assert(c.OSSL_PROVIDER_get_params(provider, list) === 1, "A provider without parameters");
  const [name, version, status] = records.map(({ answer }) => new DataView(answer.buffer));
  return {
    name: textFrom(name!.getBigUint64(0, true)),
    version: textFrom(version!.getBigUint64(0, true)),
    status: status!.getInt32(0, true),
  };
}

function addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
}

function textFrom(address: bigint): string {
  const pointer = Deno.UnsafePointer.create(address);
  return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
}

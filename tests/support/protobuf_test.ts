// The byte samples of spec/xds-state-and-dns §1.13 and §2.4, by the tables of tests/support/xds_schema.ts.
import { assertEquals } from "@std/assert";
import { XDS_SAMPLES } from "./xds_samples.ts";
import { XDS_PROTOBUF } from "./xds_schema.ts";

Deno.test.each(XDS_SAMPLES)(
  "Protobuf.encode() writes the spec's octets of $what",
  ({ message, fields, hex }) => {
    assertEquals(XDS_PROTOBUF.encode(message, fields).toHex(), hex);
  },
);

Deno.test.each(XDS_SAMPLES)(
  "Protobuf.decode() reads what it means of $what",
  ({ message, fields, hex }) => {
    const read = XDS_PROTOBUF.decode(message, Uint8Array.fromHex(hex));
    assertEquals(XDS_PROTOBUF.encode(message, read).toHex(), hex);
    assertEquals(withoutEmpty(read), fields);
  },
);

/** Fields whose empty message says something. */
const MESSAGES = ["presence", "capacity"];

/** Lists and maps are read as empty where the samples leave them out. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, item]) => MESSAGES.includes(key) || !isEmpty(item))
      .map(([key, item]) => [key, withoutEmpty(item)]),
  );
}

function isEmpty(item: unknown): boolean {
  if (item instanceof Uint8Array) return false;
  return Array.isArray(item)
    ? item.length === 0
    : typeof item === "object" && item !== null && Object.keys(item).length === 0;
}

// Protobuf bytes by hand, for tests: what no encoder would write.
import { Buffer } from "node:buffer";

/** The bytes of hexadecimal digits. */
export function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

/** Lower-case hexadecimal digits. */
export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** Bytes one after the other; strings are UTF-8. */
export function join(
  ...parts: (Uint8Array | readonly number[] | string)[]
): Uint8Array<ArrayBuffer> {
  const pieces = parts.map((part) =>
    typeof part === "string" ? new TextEncoder().encode(part) : Uint8Array.from(part)
  );
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** A varint of a number that is not negative. */
export function varint(value: number): number[] {
  return value < 128 ? [value] : [value % 128 | 128, ...varint(Math.floor(value / 128))];
}

/** A length-delimited field. */
export function field(number: number, content: Uint8Array | string = ""): Uint8Array<ArrayBuffer> {
  const bytes = join(content);
  return join(varint(number << 3 | 2), varint(bytes.length), bytes);
}

/** A varint field. */
export function numberField(number: number, value: number): Uint8Array<ArrayBuffer> {
  return join(varint(number << 3), varint(value));
}

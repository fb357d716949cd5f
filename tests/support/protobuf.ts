// Protocol Buffers read and written from tables that look like those of the spec, for peers made by hand.
// Nothing here is shared with the product: a number mistaken in its .proto files is not mistaken twice.

/** `<number> [repeated|packed|map|optional] <type>`; a type is a scalar, a message or an enum of the same schema. */
export type FieldTable = Readonly<Record<string, string>>;

/** Messages by name, and enums: names in the order of their numbers, from 0. */
export interface Schema {
  readonly messages: Readonly<Record<string, FieldTable>>;
  readonly enums: Readonly<Record<string, readonly string[]>>;
}

/** A field that is left out is undefined. An enum is its name, or any number; a map is an object. */
// deno-lint-ignore no-explicit-any -- What a field holds is the table's to say.
export type Fields = Readonly<Record<string, any>>;

interface Field {
  readonly name: string;
  readonly number: number;
  /** `packed` is how a list of numbers is written; reading takes both forms (§2.1). */
  readonly label: "" | "optional" | "repeated" | "packed" | "map";
  readonly type: string;
}

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;
const SCALARS = ["string", "bytes", "bool", "uint32", "int32", "int64", "double"];

export class ProtobufError extends Error {}

/** Encodes and decodes the messages of one schema. Fields are written in the order of their numbers. */
export class Protobuf {
  readonly #fields = new Map<string, readonly Field[]>();
  readonly #enums: Schema["enums"];

  constructor(schema: Schema) {
    this.#enums = schema.enums;
    for (const [message, table] of Object.entries(schema.messages)) {
      const fields = Object.entries(table).map(([name, text]) => parseField(name, text));
      for (const { type, name } of fields) {
        const isKnown = SCALARS.includes(type) || type in schema.messages || type in schema.enums;
        if (!isKnown) throw new ProtobufError(`${message}.${name} is of unknown type ${type}`);
      }
      this.#fields.set(message, fields.sort((a, b) => a.number - b.number));
    }
  }

  encode(message: string, fields: Fields): Uint8Array<ArrayBuffer> {
    const known = this.#of(message);
    for (const name of Object.keys(fields)) {
      if (!known.some((field) => field.name === name)) {
        throw new ProtobufError(`${message} has no field ${name}`);
      }
    }
    const parts: Uint8Array[] = [];
    for (const field of known) this.#encodeField(field, fields[field.name], parts);
    return concat(parts);
  }

  /** Every field that was present; lists and maps always. Unknown fields are skipped. */
  decode(message: string, bytes: Uint8Array): Record<string, unknown> {
    const fields = this.#of(message);
    const result: Record<string, unknown> = {};
    for (const { name, label } of fields) {
      if (label === "repeated" || label === "packed") result[name] = [];
      if (label === "map") result[name] = {};
    }
    const reader = new Reader(bytes);
    while (!reader.atEnd) {
      const tag = reader.varint();
      const wire = tag & 7;
      const field = fields.find(({ number }) => number === tag >>> 3);
      if (field === undefined) reader.skip(wire);
      else this.#decodeField(field, wire, reader, result);
    }
    return result;
  }

  #of(message: string): readonly Field[] {
    const fields = this.#fields.get(message);
    if (fields === undefined) throw new ProtobufError(`No message ${message}`);
    return fields;
  }

  #encodeField({ number, label, type }: Field, value: unknown, parts: Uint8Array[]): void {
    if (value === undefined) return;
    const put = (item: unknown) => {
      const { wire, bytes } = this.#encodeValue(type, item);
      parts.push(varint(number << 3 | wire), bytes);
    };
    if (label === "map") {
      for (const [key, item] of Object.entries(value as Record<string, unknown>)) {
        const entry: Uint8Array[] = [];
        this.#encodeField(
          { name: "key", number: 1, label: "optional", type: "string" },
          key,
          entry,
        );
        this.#encodeField({ name: "value", number: 2, label: "optional", type }, item, entry);
        parts.push(varint(number << 3 | LENGTH), delimited(concat(entry)));
      }
    } else if (label === "repeated") (value as unknown[]).forEach(put);
    else if (label === "packed") {
      const items = (value as unknown[]).map((item) => this.#encodeValue(type, item).bytes);
      if (items.length > 0) parts.push(varint(number << 3 | LENGTH), delimited(concat(items)));
    } else if (label === "optional" || !isDefault(value, this.#enums[type])) put(value);
  }

  #encodeValue(
    type: string,
    value: unknown,
  ): { readonly wire: number; readonly bytes: Uint8Array } {
    switch (type) {
      case "string":
        return { wire: LENGTH, bytes: delimited(new TextEncoder().encode(value as string)) };
      case "bytes":
        return { wire: LENGTH, bytes: delimited(value as Uint8Array) };
      case "bool":
        return { wire: VARINT, bytes: varint(value === true ? 1 : 0) };
      case "uint32":
      case "int32":
      case "int64":
        return { wire: VARINT, bytes: varint(value as number) };
      case "double": {
        const bytes = new Uint8Array(8);
        new DataView(bytes.buffer).setFloat64(0, value as number, true);
        return { wire: FIXED64, bytes };
      }
    }
    const names = this.#enums[type];
    if (names === undefined) {
      return { wire: LENGTH, bytes: delimited(this.encode(type, value as Fields)) };
    }
    const number = typeof value === "number" ? value : names.indexOf(value as string);
    if (number < 0) throw new ProtobufError(`${type} has no ${value}`);
    return { wire: VARINT, bytes: varint(number) };
  }

  #decodeField(field: Field, wire: number, reader: Reader, result: Record<string, unknown>): void {
    const { name, label, type } = field;
    if (label === "map") {
      const entry = new Reader(reader.delimited());
      let key = "";
      let value: unknown;
      while (!entry.atEnd) {
        const tag = entry.varint();
        if (tag >>> 3 === 1) key = utf8(entry.delimited());
        else if (tag >>> 3 === 2) value = this.#decodeValue(type, tag & 7, entry);
        else entry.skip(tag & 7);
      }
      (result[name] as Record<string, unknown>)[key] = value ?? (type === "string" ? "" : {});
    } else if (label !== "repeated" && label !== "packed") {
      result[name] = this.#decodeValue(type, wire, reader);
    } else if (wire === LENGTH && this.#isNumber(type)) {
      const packed = new Reader(reader.delimited());
      const list = result[name] as unknown[];
      while (!packed.atEnd) list.push(this.#decodeValue(type, VARINT, packed));
    } else (result[name] as unknown[]).push(this.#decodeValue(type, wire, reader));
  }

  #isNumber(type: string): boolean {
    return type === "uint32" || type === "int32" || type === "bool" || type in this.#enums;
  }

  #decodeValue(type: string, wire: number, reader: Reader): unknown {
    if (type === "double") return reader.double();
    if (wire === VARINT) {
      const number = reader.varint();
      if (type === "bool") return number !== 0;
      return this.#enums[type]?.[number] ?? number;
    }
    if (wire !== LENGTH) throw new ProtobufError(`Wire type ${wire} for a ${type}`);
    const bytes = reader.delimited();
    if (type === "string") return utf8(bytes);
    return type === "bytes" ? bytes : this.decode(type, bytes);
  }
}

function parseField(name: string, text: string): Field {
  const parts = text.split(" ");
  const [number, label, type] = parts.length === 2 ? [parts[0], "", parts[1]] : parts;
  return { name, number: Number(number), label: label as Field["label"], type: type! };
}

function isDefault(value: unknown, names: readonly string[] | undefined): boolean {
  if (names !== undefined) return value === 0 || value === names[0];
  return value === "" || value === 0 || value === false ||
    (value instanceof Uint8Array && value.length === 0);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function delimited(bytes: Uint8Array): Uint8Array {
  return concat([varint(bytes.length), bytes]);
}

/** 0 to 2^53. */
function varint(value: number): Uint8Array {
  const octets: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) octets.push(rest % 0x80 | 0x80);
  octets.push(rest);
  return new Uint8Array(octets);
}

function utf8(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1;; scale *= 0x80) {
      const octet = this.#take(1)[0]!;
      value += (octet & 0x7f) * scale;
      if (octet < 0x80) return value;
    }
  }

  delimited(): Uint8Array {
    return this.#take(this.varint());
  }

  double(): number {
    const bytes = this.#take(8);
    return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true);
  }

  skip(wire: number): void {
    if (wire === VARINT) this.varint();
    else if (wire === LENGTH) this.delimited();
    else if (wire === FIXED64 || wire === FIXED32) this.#take(wire === FIXED64 ? 8 : 4);
    else throw new ProtobufError(`Wire type ${wire}`);
  }

  #take(count: number): Uint8Array {
    if (this.#at + count > this.#bytes.length) throw new ProtobufError("Ends too soon");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}

// YAML with positions: every value knows its line and its path, and says so when it is not what is needed.
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, visit } from "yaml";
import type { Alias, Node, ScalarTag, Tags, YAMLMap } from "yaml";
import { parsePort } from "../base/address.ts";
import { ProxyError } from "../base/errors.ts";

/** Nodes read from one file, aliases counted each time: a bound for files that refer to themselves a lot. */
export const YAML_NODES_MAX = 5_000_000;

/** A mesh file cannot be used. One line: file, line, what was expected and what was there. */
export class MeshFileError extends ProxyError {
  readonly code = "MESH_FILE_INVALID";
}

/** What all values of one file share. */
interface File {
  readonly source: string;
  readonly lines: LineCounter;
  readonly aliases: ReadonlyMap<Alias, Node>;
  readonly nodesMax: number;
  nodesRead: number;
}

function errorAt(source: string, line: number, what: string): MeshFileError {
  return new MeshFileError(`Cannot read mesh file ${source}, line ${line}: ${what}`);
}

/** At most 40 characters of a text, quoted, on one line. */
function quote(text: string): string {
  return JSON.stringify(text.length <= 40 ? text : `${text.slice(0, 40)}…`);
}

function listOf(words: readonly string[]): string {
  return words.length < 2
    ? words.join("")
    : `${words.slice(0, -1).join(", ")} or ${words[words.length - 1]}`;
}

/** One value of a YAML file. Reading it as something it is not throws {@link MeshFileError}. */
export class YamlValue {
  readonly #file: File;
  readonly #node: Node | null;
  readonly #offset: number;
  readonly #path: string;

  constructor(file: File, node: Node | null, offset: number, path: string) {
    this.#file = file;
    this.#offset = node?.range?.[0] ?? offset;
    this.#path = path;
    this.#node = isAlias(node) ? file.aliases.get(node) ?? null : node;
    if (++file.nodesRead > file.nodesMax) {
      throw errorAt(file.source, this.line, `more than ${file.nodesMax} values, aliases included`);
    }
  }

  /** Counted from 1. */
  get line(): number {
    return this.#file.lines.linePos(this.#offset).line;
  }

  /** The tag written before the value (`!Exact`), or null. */
  get tag(): string | null {
    const tag = this.#node?.tag;
    return tag !== undefined && tag.startsWith("!") ? tag : null;
  }

  /** `~`, `null` or nothing at all. */
  get isNull(): boolean {
    return this.#node === null ||
      isScalar(this.#node) && this.#node.value === null;
  }

  /** Null, "" or an empty list: what may stand where there is nothing to say. */
  get isNothing(): boolean {
    const node = this.#node;
    return this.isNull || isSeq(node) && node.items.length === 0 ||
      isScalar(node) && node.value === "";
  }

  get isMap(): boolean {
    return isMap(this.#node);
  }

  /** Where the value is: `workloads[2].protocol`. */
  get path(): string {
    return this.#path;
  }

  /** @throws {MeshFileError} `PATH must be EXPECTED, is FOUND`. */
  mismatch(expected: string): never {
    throw this.error(`must be ${expected}, is ${this.#found()}`);
  }

  /** An error about this value: `PATH WHAT`. */
  error(what: string): MeshFileError {
    return errorAt(this.#file.source, this.line, `${this.#path} ${what}`);
  }

  /** A line about this value that is no error. */
  note(what: string): string {
    return `Mesh file ${this.#file.source}, line ${this.line}: ${this.#path} ${what}`;
  }

  #found(): string {
    const node = this.#node;
    if (node === null) return "nothing";
    if (isMap(node)) return "a mapping";
    if (isSeq(node)) return "a list";
    if (!isScalar(node) || node.value === null) return "nothing";
    const value = node.value;
    return typeof value === "string" ? quote(value) : quote(node.source ?? String(value));
  }

  string(): string {
    const node = this.#node;
    if (!isScalar(node) || typeof node.value !== "string") {
      this.mismatch(
        isScalar(node) && node.value !== null ? "a text (put it in quotes)" : "a text",
      );
    }
    return node.value;
  }

  /** One of a few words. */
  word<Word extends string>(words: readonly Word[]): Word {
    const node = this.#node;
    if (isScalar(node)) {
      const found = words.find((word) => word === node.value);
      if (found !== undefined) return found;
    }
    return this.mismatch(listOf(words));
  }

  boolean(): boolean {
    const node = this.#node;
    if (!isScalar(node) || typeof node.value !== "boolean") this.mismatch("true or false");
    return node.value;
  }

  /** A whole number from 0 to `max`. */
  integer(max: number): number {
    const node = this.#node;
    const value = isScalar(node) ? node.value : null;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > max) {
      this.mismatch(`a whole number from 0 to ${max}`);
    }
    return value;
  }

  /** A port number as a key, quoted or not. */
  portKey(): number {
    const node = this.#node;
    const text = isScalar(node) ? node.source ?? String(node.value) : "";
    return parsePort(text) ?? this.mismatch("a port from 0 to 65535");
  }

  /** Every item of a list. */
  list<Item>(read: (item: YamlValue) => Item): Item[] {
    const node = this.#node;
    if (!isSeq(node)) this.mismatch("a list");
    return node.items.map((item, index) =>
      read(new YamlValue(this.#file, item as Node | null, this.#offset, `${this.#path}[${index}]`))
    );
  }

  /** Every entry of a mapping with free keys. */
  entries<Entry>(read: (key: YamlValue, value: YamlValue) => Entry): Entry[] {
    const node = this.#node;
    if (!isMap(node)) this.mismatch("a mapping");
    return node.items.map((pair) => {
      const keyNode = pair.key as Node | null;
      const key = new YamlValue(this.#file, keyNode, this.#offset, `a key of ${this.#path}`);
      const name = isScalar(keyNode) ? String(keyNode.value) : "?";
      const value = pair.value as Node | null;
      return read(key, new YamlValue(this.#file, value, key.#offset, `${this.#path}.${name}`));
    });
  }

  /**
   * A mapping with known keys.
   * @param known Names of all keys.
   * @param onUnknown What happens to others; by default they are refused.
   */
  object(known: readonly string[], onUnknown?: (key: YamlValue, name: string) => void): YamlObject {
    const node = this.#node;
    if (!isMap(node)) this.mismatch(`a mapping with the keys ${known.join(", ")}`);
    const values = new Map<string, YamlValue>();
    for (const pair of (node as YAMLMap).items) {
      const keyNode = pair.key as Node | null;
      const name = isScalar(keyNode) ? String(keyNode.value) : "?";
      const key = new YamlValue(this.#file, keyNode, this.#offset, this.#path);
      if (!known.includes(name)) {
        if (onUnknown === undefined) {
          throw key.error(`has the unknown key ${quote(name)}, known are ${known.join(", ")}`);
        }
        onUnknown(key, name);
        continue;
      }
      const path = this.#path === "the file" ? name : `${this.#path}.${name}`;
      values.set(name, new YamlValue(this.#file, pair.value as Node | null, key.#offset, path));
    }
    return new YamlObject(this, values);
  }
}

/** A mapping whose keys were checked. */
export class YamlObject {
  readonly self: YamlValue;
  readonly #values: ReadonlyMap<string, YamlValue>;

  constructor(self: YamlValue, values: ReadonlyMap<string, YamlValue>) {
    this.self = self;
    this.#values = values;
  }

  /** @throws {MeshFileError} if the key is absent. */
  required(key: string): YamlValue {
    const value = this.#values.get(key);
    if (value === undefined) throw this.self.error(`lacks the required key ${key}`);
    return value;
  }

  /** Reads the value, or gives `otherwise` where the key is absent. */
  optional<Value, Otherwise>(
    key: string,
    read: (value: YamlValue) => Value,
    otherwise: Otherwise,
  ): Value | Otherwise {
    const value = this.#values.get(key);
    return value === undefined ? otherwise : read(value);
  }

  /** Reads the value, or gives null where the key is absent or its value is null. */
  nullable<Value>(key: string, read: (value: YamlValue) => Value): Value | null {
    const value = this.#values.get(key);
    return value === undefined || value.isNull ? null : read(value);
  }
}

/** How string matches are written: `!Exact text`, `!Presence []` (spec/xds-state-and-dns §4.4). */
const STRING_MATCH_TAGS: Tags = ["!Exact", "!Prefix", "!Suffix", "!Presence"].flatMap((tag) => {
  const scalar: ScalarTag = { tag, resolve: (text) => text };
  return [scalar, { tag, collection: "seq" as const }];
});

/**
 * Parses YAML 1.2 (and so JSON); anything it cannot take whole is an error.
 * @param options.source The file's name in errors.
 * @throws {MeshFileError}
 */
export function parseYaml(
  text: string,
  options: { readonly source: string; readonly nodesMax?: number },
): YamlValue {
  const { source, nodesMax = YAML_NODES_MAX } = options;
  const lines = new LineCounter();
  let document: ReturnType<typeof parseDocument>;
  try {
    document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      schema: "core",
      merge: false,
      uniqueKeys: true,
      customTags: (tags) => [...tags, ...STRING_MATCH_TAGS],
    });
  } catch (error) {
    // The parser recurses; a file of brackets alone exhausts the stack.
    if (error instanceof RangeError) throw errorAt(source, 1, "nested too deeply");
    throw error;
  }
  const problems = [...document.errors, ...document.warnings];
  if (problems.length > 0) {
    const first = problems.reduce((a, b) => b.pos[0] < a.pos[0] ? b : a);
    const what = first.message.replaceAll(/\s+/g, " ").trim();
    throw errorAt(source, lines.linePos(first.pos[0]).line, `is not valid YAML: ${what}`);
  }
  const aliases = new Map<Alias, Node>();
  const anchors = new Map<string, Node>();
  visit(document, {
    Node(_, node) {
      if (isAlias(node)) {
        const target = anchors.get(node.source);
        if (target === undefined) {
          const { line } = lines.linePos(node.range?.[0] ?? 0);
          throw errorAt(source, line, `*${node.source} refers to no &${node.source} before it`);
        }
        aliases.set(node, target);
      } else if (node.anchor !== undefined) anchors.set(node.anchor, node);
    },
  });
  const file: File = { source, lines, aliases, nodesMax, nodesRead: 0 };
  return new YamlValue(file, document.contents as Node | null, 0, "the file");
}

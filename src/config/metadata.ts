// Variables whose names are only known by how they begin: proxy metadata, JSON metadata, gRPC headers (§2.2, §2.3).
import type { Environment } from "./env_reader.ts";
import { ConfigError, invalidConfiguration, type Notice, shownValue } from "./errors.ts";
import { CONFIG_PREFIXES, CONFIG_VARIABLES } from "./variables.ts";

/** Most variables that may begin with one of the prefixes, all prefixes together. */
export const PREFIXED_NAMES_MAX = 256;

/** Longest name of such a variable, in UTF-16 units. */
export const PREFIXED_NAME_CHARS_MAX = 256;

/** Deepest nesting of an `ISTIO_METAJSON_*` value; what is deeper does not parse, as with the original's parser. */
export const JSON_DEPTH_MAX = 127;

/** What gRPC and HTTP/2 fill in themselves: such a header would be dropped or break the request. */
const RESERVED_HEADERS: ReadonlySet<string> = new Set([
  ...["te", "user-agent", "content-type", "grpc-message", "grpc-message-type", "grpc-status"],
  ...["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"],
  ...["host", "content-length"],
]);

/** One request header: its name in lower case, and its value, which may be a secret. */
export type Header = readonly [name: string, value: string];

type Prefix = typeof CONFIG_PREFIXES[number]["prefix"];

/** The variables that begin with one of CONFIG_PREFIXES. */
export class PrefixedVariables {
  readonly #env: Environment;
  readonly #names: readonly string[];

  /**
   * @param names Names of variables, any; those with a prefix are used, beside the ones that are always asked for.
   * @throws {ConfigError} for more than PREFIXED_NAMES_MAX, or one longer than PREFIXED_NAME_CHARS_MAX.
   */
  constructor(env: Environment, names: readonly string[]) {
    this.#env = env;
    const found = new Set(CONFIG_VARIABLES.map(({ name }) => name).filter(hasPrefix));
    const always = found.size;
    for (const name of names) {
      if (!hasPrefix(name)) continue;
      if (name.length > PREFIXED_NAME_CHARS_MAX) {
        throw invalidConfiguration(
          `the name of a variable has ${name.length} characters, at most ${PREFIXED_NAME_CHARS_MAX} are possible: ` +
            `${name.slice(0, 40)}…`,
        );
      }
      found.add(name);
    }
    if (found.size - always > PREFIXED_NAMES_MAX) {
      const prefixes = CONFIG_PREFIXES.map(({ prefix }) => `${prefix}*`).join(", ");
      throw invalidConfiguration(`more than ${PREFIXED_NAMES_MAX} variables are named ${prefixes}`);
    }
    this.#names = [...found].sort();
  }

  /**
   * Proxy metadata (§2.3): the environment's `ISTIO_META_<KEY>` over `proxyConfig`.
   * @param proxyConfig Merged and stripped of the prefix.
   */
  metadata(proxyConfig: ReadonlyMap<string, string>): Map<string, string> {
    return new Map([
      ...proxyConfig,
      ...this.#set("ISTIO_META_").map(({ key, value }) => [key, value] as const),
    ]);
  }

  /** The values of `ISTIO_METAJSON_<KEY>`, parsed; what does not parse is left out and in `notices`. */
  jsonMetadata(notices: Notice[]): Map<string, unknown> {
    const parsed = new Map<string, unknown>();
    for (const { name, key, value } of this.#set("ISTIO_METAJSON_")) {
      const json = parseJson(value);
      if (json === undefined) {
        notices.push({ level: "error", text: `failed to parse ${name}=${shownValue(value)}` });
      } else {
        parsed.set(key, json);
      }
    }
    return parsed;
  }

  /**
   * Request headers, sorted by the variables' names; of two that differ in case only, the later.
   * @throws {ConfigError} in the original's words, but naming the variable where the original shows the value.
   */
  headers(prefix: "XDS_HEADER_" | "CA_HEADER_", notices: Notice[]): Header[] {
    const headers = new Map<string, string>();
    for (const { name, key, value } of this.#set(prefix)) {
      const header = key.toLowerCase();
      // RFC 9110 §5.6.2; names that end in -bin carry base64 (gRPC over HTTP/2), which is not what is written here.
      if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(header) || header.endsWith("-bin")) {
        throw new ConfigError(`failed to parse header key: ${name}`);
      }
      if (!/^[\t\x20-\x7e]*$/.test(value)) {
        throw new ConfigError(`failed to parse header value: <value of ${name}>`);
      }
      if (RESERVED_HEADERS.has(header)) {
        notices.push({
          level: "warn",
          text: `${name} has no effect: gRPC sets that header itself`,
        });
        continue;
      }
      headers.set(header, value);
    }
    return [...headers];
  }

  /** Those that begin with `prefix` and are set. */
  #set(prefix: Prefix): { name: string; key: string; value: string }[] {
    return this.#names.flatMap((name) => {
      if (!name.startsWith(prefix)) return [];
      const value = this.#env(name);
      return value === undefined ? [] : [{ name, key: name.slice(prefix.length), value }];
    });
  }
}

function hasPrefix(name: string): boolean {
  return CONFIG_PREFIXES.some(({ prefix }) => name.startsWith(prefix));
}

/** undefined where `text` is no JSON that the control plane could be told. */
function parseJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return isSendable(value, JSON_DEPTH_MAX) ? value : undefined;
  } catch {
    return undefined; // What is wrong with it is not said: the value is, and it is in the log line.
  }
}

/** Not too deep, no numbers beyond a double, no halves of surrogate pairs. */
function isSendable(value: unknown, depthMax: number): boolean {
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value !== "object" || value === null) return true;
  if (depthMax === 0) return false;
  return Object.entries(value).every(([key, member]) =>
    key.isWellFormed() && isSendable(member, depthMax - 1)
  );
}

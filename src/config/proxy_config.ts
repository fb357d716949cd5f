// The mesh file's `defaultConfig` and PROXY_CONFIG, merged (spec/config-and-observability §2.3). Pure.
import { parse } from "yaml";
import { ConfigError } from "./errors.ts";

/** Path of the mesh configuration file, relative to the working directory. */
export const MESH_CONFIG_PATH = "./etc/istio/config/mesh";

/** What is read from ProxyConfig; unknown keys are ignored. */
export interface ProxyConfig {
  readonly discoveryAddress: string | null;
  readonly adminPort: number | null;
  readonly statsPort: number | null;
  /** Worker threads; 0: as many as there are CPUs. */
  readonly concurrency: number | null;
  /** Keys without a leading `ISTIO_META_`. */
  readonly metadata: ReadonlyMap<string, string>;
}

type Mapping = Readonly<Record<string, unknown>>;

/**
 * Merges both sources, the variable over the file, field by field; metadata key by key.
 * @param sources.meshText Text of the mesh file; null where it does not exist.
 * @param sources.envText PROXY_CONFIG; null or "" where it is not set.
 * @throws {ConfigError}
 */
export function readProxyConfig(
  sources: { readonly meshText: string | null; readonly envText: string | null },
): ProxyConfig {
  const fromMesh = readMesh(sources.meshText);
  const fromEnv = sources.envText === null || sources.envText === ""
    ? EMPTY
    : readSource("failed parsing proxy config env", () => mappingOf(parseYaml(sources.envText!)));
  const metadata = new Map<string, string>();
  for (const [key, value] of new Map([...fromMesh.metadata, ...fromEnv.metadata])) {
    metadata.set(key.replace(/^ISTIO_META_/, ""), value);
  }
  return {
    discoveryAddress: fromEnv.discoveryAddress ?? fromMesh.discoveryAddress,
    adminPort: fromEnv.adminPort ?? fromMesh.adminPort,
    statsPort: fromEnv.statsPort ?? fromMesh.statsPort,
    concurrency: fromEnv.concurrency ?? fromMesh.concurrency,
    metadata,
  };
}

const EMPTY: ProxyConfig = {
  discoveryAddress: null,
  adminPort: null,
  statsPort: null,
  concurrency: null,
  metadata: new Map(),
};

function readMesh(text: string | null): ProxyConfig {
  if (text === null) return EMPTY;
  return readSource(
    `failed parsing mesh config file ${MESH_CONFIG_PATH}`,
    () => mappingOf(mappingOf(parseYaml(text)).defaultConfig),
  );
}

/** Errors are thrown; warnings would be printed by the parser itself, past the log. */
function parseYaml(text: string): unknown {
  return parse(text, { logLevel: "error" });
}

/** Reads one source; whatever is wrong with it becomes one line. */
function readSource(prefix: string, read: () => Mapping): ProxyConfig {
  try {
    const map = read();
    return {
      discoveryAddress: textOf(map, "discoveryAddress"),
      adminPort: u16Of(map, "proxyAdminPort", "a port"),
      statsPort: u16Of(map, "statsPort", "a port"),
      concurrency: u16Of(map, "concurrency", "a number"),
      metadata: metadataOf(map.proxyMetadata),
    };
  } catch (error) {
    const [reason = ""] = error instanceof Error ? error.message.split("\n") : [String(error)];
    // The parser ends its first line with a colon: an excerpt would follow.
    const text = `error parsing proxy config: ${prefix}: ${reason.replace(/:$/, "")}`;
    throw new ConfigError(text, { cause: error });
  }
}

/** A mapping; nothing is an empty one. */
function mappingOf(value: unknown): Mapping {
  if (value === null || value === undefined) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw new Error("expected a mapping");
  return value as Mapping;
}

function textOf(map: Mapping, key: string): string | null {
  const value = map[key];
  if (value === undefined || value === null) return null;
  if (typeof value !== "string") throw new Error(`${key}: expected a text`);
  return value;
}

function u16Of(map: Mapping, key: string, what: string): number | null {
  const value = map[key];
  if (value === undefined || value === null) return null;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > 65_535) {
    throw new Error(`${key}: expected ${what} from 0 to 65535`);
  }
  return value;
}

/** Scalars become texts, which the original refuses (§8). */
function metadataOf(value: unknown): ReadonlyMap<string, string> {
  const metadata = new Map<string, string>();
  for (const [key, scalar] of Object.entries(mappingOf(value))) {
    if (typeof scalar === "object" && scalar !== null) {
      throw new Error(`proxyMetadata.${key}: expected a text`);
    }
    metadata.set(key, scalar === null ? "" : String(scalar));
  }
  return metadata;
}

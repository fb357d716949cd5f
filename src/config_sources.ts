// What readConfig() asks for beside the environment, as far as this process may look at it.
import type { ConfigSources } from "./config/config.ts";
import { TOKEN_PATH } from "./config/control_plane.ts";
import { ConfigError } from "./config/errors.ts";
import { MESH_CONFIG_PATH } from "./config/proxy_config.ts";
import { CONFIG_PREFIXES } from "./config/variables.ts";

/**
 * Names of the variables that are set, separated by commas: the runtime lists its environment only to whoever may read
 * all of it, so whoever starts a process with less than that says what there is (ours).
 */
export const ENV_NAMES_VARIABLE = "ZTUNNEL_ENV_NAMES";

/** A variable of this process; one that is no text counts as unset (spec/config-and-observability §2.1). */
export function environment(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch (error) {
    if (error instanceof Deno.errors.InvalidData) return undefined;
    throw error;
  }
}

/** The mesh configuration file's text, what exists, and which variables are set. */
export function configSources(): ConfigSources {
  return {
    meshConfigText: readMeshConfig(),
    exists,
    names: prefixedNames(),
    cpus: navigator.hardwareConcurrency,
  };
}

/** Null where there is none, or where nobody said that it may be looked for. */
function readMeshConfig(): string | null {
  if (!mayRead(MESH_CONFIG_PATH)) return null;
  try {
    return Deno.readTextFileSync(MESH_CONFIG_PATH);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError(
      `error parsing proxy config: failed parsing mesh config file ${MESH_CONFIG_PATH}: ${reason}`,
      { cause: error },
    );
  }
}

/**
 * Where we may not look, what is written like a path counts as one: whoever uses it then names the missing grant. But
 * nobody asked for the token at its usual place.
 */
function exists(path: string): boolean {
  if (!mayRead(path)) return path !== TOKEN_PATH && /^\.{0,2}\/[^\n]*$/.test(path);
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false; // Too long for a path, for one: then it is a text.
  }
}

function mayRead(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

function prefixedNames(): string[] {
  const mayList = Deno.permissions.querySync({ name: "env" }).state === "granted";
  const names = mayList
    ? Object.keys(Deno.env.toObject())
    : (environment(ENV_NAMES_VARIABLE) ?? "").split(",");
  return names.filter((name) => CONFIG_PREFIXES.some(({ prefix }) => name.startsWith(prefix)));
}

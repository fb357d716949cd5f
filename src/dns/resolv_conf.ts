// /etc/resolv.conf as a value (resolv.conf(5); spec/xds-state-and-dns §3.11).
import { parseIp, type SocketAddress } from "../base/address.ts";
import { ResolverConfigError } from "./errors.ts";
import { parseHostName } from "./host_name.ts";

/** Name servers used; more are left out, with a warning. */
export const NAME_SERVERS_MAX = 8;

/** Domains of the search list, as Kubernetes bounds it. */
export const SEARCH_DOMAINS_MAX = 32;

/** `options ndots:N`, as libc bounds it. */
export const NDOTS_MAX = 15;

/** `options timeout:N`, in seconds, as libc bounds it. */
export const TIMEOUT_SECONDS_MAX = 30;

/** `options attempts:N`, as libc bounds it. */
export const ATTEMPTS_MAX = 5;

/** Octets read of the file. */
export const RESOLV_CONF_BYTES_MAX = 64 * 1024;

/** The port of name servers. */
export const DNS_PORT = 53;

export interface ResolverConfig {
  /** 1 to {@link NAME_SERVERS_MAX}, in order. */
  readonly servers: readonly SocketAddress[];
  /** Appended to short names, in order; lower case, "" is the root. */
  readonly search: readonly string[];
  /** A name with more labels than this is asked for as it is first. */
  readonly ndots: number;
  /** How long one server may take, in milliseconds. */
  readonly timeoutMs: number;
  /** How often everybody is asked again when nobody answered usefully: 2 means three tries. */
  readonly attempts: number;
  /** Questions carry an OPT record (RFC 6891). */
  readonly edns0: boolean;
  /** What was overlooked in the file, a line each. */
  readonly warnings: readonly string[];
}

/**
 * Reads the text of a resolv.conf. What it does not know it ignores, as libc does; the last `search` or `domain` counts.
 * @param text Null where the file cannot be read.
 * @param source The file's name in errors.
 * @throws {ResolverConfigError} without the file, or without a name server in it.
 */
export function parseResolvConf(
  text: string | null,
  { source = "/etc/resolv.conf", port = DNS_PORT }: {
    readonly source?: string;
    readonly port?: number;
  } = {},
): ResolverConfig {
  if (text === null) {
    throw new ResolverConfigError(`Cannot resolve names: ${source} cannot be read`);
  }
  if (text.length > RESOLV_CONF_BYTES_MAX) {
    const limit = RESOLV_CONF_BYTES_MAX;
    throw new ResolverConfigError(`Cannot resolve names: ${source} is larger than ${limit} bytes`);
  }
  const servers: SocketAddress[] = [];
  const warnings: string[] = [];
  let search: string[] = [];
  const options = { ndots: 1, timeout: 5, attempts: 2, edns0: false };
  const domains = (words: readonly string[]) =>
    words.flatMap((word) => {
      const domain = word === "." ? "" : parseHostName(word);
      if (domain === null) warnings.push(`${source}: ${JSON.stringify(word)} is no domain`);
      return domain === null ? [] : [domain];
    });

  for (const line of text.split("\n")) {
    if (/^\s*[#;]/.test(line)) continue;
    const [keyword, ...words] = line.trim().split(/\s+/);
    if (keyword === "nameserver") {
      const ip = parseIp(words[0] ?? "");
      if (ip === null) {
        warnings.push(
          `${source}: ${JSON.stringify(words[0] ?? "")} is no address of a name server`,
        );
      } else if (!servers.some((server) => server.ip === ip)) servers.push({ ip, port });
    } else if (keyword === "search") search = domains(words);
    else if (keyword === "domain") search = domains(words.slice(0, 1));
    else if (keyword === "options") { for (const word of words) readOption(word, options); }
  }
  if (servers.length === 0) {
    throw new ResolverConfigError(`Cannot resolve names: ${source} names no name server`);
  }
  if (servers.length > NAME_SERVERS_MAX) {
    warnings.push(
      `${source}: uses the first ${NAME_SERVERS_MAX} of ${servers.length} name servers`,
    );
  }
  if (search.length > SEARCH_DOMAINS_MAX) {
    warnings.push(`${source}: uses the first ${SEARCH_DOMAINS_MAX} of ${search.length} domains`);
  }
  return {
    servers: servers.slice(0, NAME_SERVERS_MAX),
    search: [...new Set(search)].slice(0, SEARCH_DOMAINS_MAX),
    ndots: options.ndots,
    timeoutMs: options.timeout * 1000,
    attempts: options.attempts,
    edns0: options.edns0,
    warnings,
  };
}

interface Options {
  ndots: number;
  timeout: number;
  attempts: number;
  edns0: boolean;
}

/** Values out of range become the nearest that is in it. */
function readOption(word: string, options: Options): void {
  const [name, text = ""] = word.split(":");
  const value = /^\d{1,9}$/.test(text) ? Number(text) : null;
  if (name === "edns0") options.edns0 = true;
  if (value === null) return;
  if (name === "ndots") options.ndots = Math.min(value, NDOTS_MAX);
  if (name === "timeout") options.timeout = Math.max(1, Math.min(value, TIMEOUT_SECONDS_MAX));
  if (name === "attempts") options.attempts = Math.min(value, ATTEMPTS_MAX);
}

// Host names as values: what may be asked, and which names a short one may mean (resolv.conf(5)).
import type { ResolverConfig } from "./resolv_conf.ts";

/** Octets of a name on the wire, lengths and root label included (RFC 1035 §2.3.4). */
export const NAME_OCTETS_MAX = 255;

/** Octets of a label (RFC 1035 §2.3.4). */
export const LABEL_OCTETS_MAX = 63;

const LABEL = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?$/;

/**
 * A name in lower case without its last dot; null where it is no host name: labels of letters, digits, hyphens and
 * underscores. Names in other scripts must come in their ASCII form.
 */
export function parseHostName(text: string): string | null {
  const name = (text.endsWith(".") ? text.slice(0, -1) : text).toLowerCase();
  if (name.length + 2 > NAME_OCTETS_MAX) return null;
  const labels = name.split(".");
  return labels.every((label) => label.length <= LABEL_OCTETS_MAX && LABEL.test(label))
    ? name
    : null;
}

/** True for a name or anything under it. */
export function isUnder(name: string, parent: string): boolean {
  return name === parent || name.endsWith(`.${parent}`);
}

/**
 * The names to ask for, in order (spec/xds-state-and-dns §3.11): with more labels than `ndots` the name as it is
 * first and the search list after, otherwise the other way round.
 * @param isWhole The name was given with a dot at its end: nothing else is meant.
 */
export function namesToAsk(
  name: string,
  { isWhole, config }: {
    readonly isWhole: boolean;
    readonly config: Pick<ResolverConfig, "search" | "ndots">;
  },
): string[] {
  if (isWhole) return [name];
  const longer = config.search.map((domain) => domain === "" ? name : `${name}.${domain}`)
    .filter((candidate) => candidate.length + 2 <= NAME_OCTETS_MAX);
  const names = name.split(".").length > config.ndots ? [name, ...longer] : [...longer, name];
  return [...new Set(names)];
}

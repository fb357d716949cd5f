// /etc/hosts as a value (hosts(5)).
import { parseIp } from "../base/address.ts";
import { parseHostName } from "./host_name.ts";

/** Characters read of the file: some 100,000 names. */
export const HOSTS_CHARACTERS_MAX = 4 * 1024 * 1024;

/** Name, in lower case → its addresses, canonical, in the order of the file, each once. */
export type Hosts = ReadonlyMap<string, readonly string[]>;

/**
 * Reads the text of a hosts file; lines that make no sense are overlooked, and all that is beyond
 * {@link HOSTS_CHARACTERS_MAX}.
 */
export function parseHosts(text: string): Hosts {
  const hosts = new Map<string, string[]>();
  // The last line may be cut in the middle of a name, so it does not count.
  const whole = text.length <= HOSTS_CHARACTERS_MAX
    ? text
    : text.slice(0, text.lastIndexOf("\n", HOSTS_CHARACTERS_MAX - 1) + 1);
  for (const line of whole.split("\n")) {
    const [address, ...names] = line.replace(/#.*/, "").trim().split(/\s+/);
    const ip = parseIp(address!);
    if (ip === null) continue;
    for (const text of names) {
      const name = parseHostName(text);
      if (name === null) continue;
      const known = hosts.get(name);
      if (known === undefined) hosts.set(name, [ip]);
      else if (!known.includes(ip)) known.push(ip);
    }
  }
  return hosts;
}

// What brings connections to a proxy: Istio's rules in a pod, and two sets by TPROXY.
import type { Pod } from "./pod.ts";

/** Marks and ports of spec/identity-and-inpod §10.1. */
export const PROXY_MARK = "0x539/0xfff";
const REPLY_MARK = "0x111/0xfff";
/** Ours: what goes out by TPROXY comes back in by `lo`. */
const OUTGOING_MARK = "0x222/0xfff";
export const PORTS = { outbound: 15001, inboundPlaintext: 15006, inbound: 15008, socks5: 15080 };

/** How the proxy's own connections stay out of the rules. */
export type Exemption =
  /** By its packet mark, as Istio does. */
  | { readonly kind: "mark" }
  /** By its group, for a proxy without the capability to mark. */
  | { readonly kind: "group"; readonly gid: number };

export const BY_MARK: Exemption = { kind: "mark" };

/** Replies to connections from a foreign source, opened by the proxy, stay in the pod (§10.2 rows 1, 2, route). */
const SPOOFED_REPLIES = {
  prerouting: [`-A PREROUTING -m mark --mark ${PROXY_MARK} -j CONNMARK --set-xmark ${REPLY_MARK}`],
  output: [
    `-A OUTPUT -m connmark --mark ${REPLY_MARK} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff`,
  ],
};

/**
 * Istio's rules (§10.2 without DNS and probes of virtual interfaces), both families. With another exemption than the
 * mark only the last one differs.
 */
export async function redirectToProxy(pod: Pod, exemption: Exemption = BY_MARK): Promise<void> {
  const notItsOwn = exemption.kind === "mark"
    ? `-m mark ! --mark ${PROXY_MARK}`
    : `-m owner ! --gid-owner ${exemption.gid}`;
  await routeLocally(pod, REPLY_MARK, { table: 100, preference: 32764 });
  await eachFamily(pod, ({ loopback, probe }) => `
*mangle
${SPOOFED_REPLIES.prerouting.join("\n")}
${SPOOFED_REPLIES.output.join("\n")}
COMMIT
*nat
-A PREROUTING -s ${probe} -p tcp -m tcp -j ACCEPT
-A PREROUTING ! -d ${loopback} -p tcp -m tcp ! --dport ${PORTS.inbound} -m mark ! --mark ${PROXY_MARK} -m comment --comment inbound -j REDIRECT --to-ports ${PORTS.inboundPlaintext}
-A OUTPUT -d ${probe} -p tcp -m tcp -j ACCEPT
-A OUTPUT -p tcp -m mark --mark ${REPLY_MARK} -j ACCEPT
-A OUTPUT ! -d ${loopback} -o lo -j ACCEPT
-A OUTPUT ! -d ${loopback} -p tcp ${notItsOwn} -m comment --comment outbound -j REDIRECT --to-ports ${PORTS.outbound}
COMMIT
`);
}

/**
 * The same without address translation (spec/deno-runtime §3.3): what the applications send gets a mark that routes
 * it back in by `lo`, where TPROXY gives it to the transparent listener; what peers send goes to that of 15006. Only the
 * direction in which a connection was opened is taken: answers find their sockets by themselves.
 */
export async function tproxyToProxy(pod: Pod, exemption: Exemption): Promise<void> {
  await routeLocally(pod, REPLY_MARK, { table: 100, preference: 32764 });
  await routeLocally(pod, OUTGOING_MARK, { table: 101, preference: 32765 });
  const own = exemption.kind === "mark"
    ? `-m mark --mark ${PROXY_MARK}`
    : `-m owner --gid-owner ${exemption.gid}`;
  await eachFamily(pod, ({ loopback }) => `
*mangle
${SPOOFED_REPLIES.prerouting.join("\n")}
-A PREROUTING -i lo -p tcp -m mark --mark ${OUTGOING_MARK} -m comment --comment outbound -j TPROXY --on-port ${PORTS.outbound} --tproxy-mark ${OUTGOING_MARK}
-A PREROUTING ! -i lo -p tcp ! --dport ${PORTS.inbound} -m conntrack --ctdir ORIGINAL -m comment --comment inbound -j TPROXY --on-port ${PORTS.inboundPlaintext} --tproxy-mark 0x0/0x0
${SPOOFED_REPLIES.output.join("\n")}
-A OUTPUT -m mark --mark ${REPLY_MARK} -j RETURN
-A OUTPUT ${own} -j RETURN
-A OUTPUT -o lo -j RETURN
-A OUTPUT ! -d ${loopback} -p tcp -m conntrack --ctdir ORIGINAL -j MARK --set-xmark ${OUTGOING_MARK}
COMMIT
`);
}

/** Counts what comes in from other pods: `hbone`, `other` TCP, and what has `text` in it (`readable`). */
export async function countTraffic(pod: Pod, text: string): Promise<void> {
  const count = (name: string, match: string) =>
    `-A PREROUTING -i eth0 -p tcp ${match} -m comment --comment ${name}`;
  await eachFamily(pod, () => `
*raw
${count("hbone", `-m multiport --ports ${PORTS.inbound}`)}
${count("other", `-m multiport ! --ports ${PORTS.inbound}`)}
${count("readable", `-m string --algo bm --string "${text}"`)}
COMMIT
`);
}

/** How many packets each rule with a comment has met, both families together. */
export async function counted(pod: Pod): Promise<Readonly<Record<string, number>>> {
  const packets: Record<string, number> = {};
  for (const save of ["iptables-save", "ip6tables-save"]) {
    const text = await pod.run([save, "-c"]);
    for (const match of text.matchAll(/^\[(\d+):\d+\] .*--comment (\S+)/gm)) {
      packets[match[2]!] = (packets[match[2]!] ?? 0) + Number(match[1]);
    }
  }
  return packets;
}

interface FamilyTexts {
  readonly loopback: string;
  readonly probe: string;
}

async function eachFamily(pod: Pod, rules: (texts: FamilyTexts) => string): Promise<void> {
  await pod.run(["iptables-restore", "--noflush"], {
    stdin: rules({ loopback: "127.0.0.1/32", probe: "169.254.7.127/32" }),
  });
  await pod.run(["ip6tables-restore", "--noflush"], {
    stdin: rules({ loopback: "::1/128", probe: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128" }),
  });
}

async function routeLocally(
  pod: Pod,
  mark: string,
  { table, preference }: { readonly table: number; readonly preference: number },
): Promise<void> {
  for (const [family, all] of [["-4", "0.0.0.0/0"], ["-6", "::/0"]]) {
    await pod.run(["ip", family!, "-batch", "-"], {
      stdin: `rule add fwmark ${mark} pref ${preference} lookup ${table}\n` +
        `route add local ${all} dev lo table ${table}\n`,
    });
  }
}

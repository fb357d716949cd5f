// Pods on one link: a network namespace for each, joined by veth pairs to a bridge in one more.
import { requireNamespaces } from "./environment.ts";
import { output, Pod } from "./pod.ts";

/** Private to the rig: namespaces of other rigs do not meet it. */
const IPV4 = (host: number) => `10.77.0.${host}`;
const IPV6 = (host: number) => `fd00:77::${host}`;

/** Replies to foreign sources come and go by other ways than they should, and addresses must work at once. */
const SYSCTLS = [
  "net.ipv4.conf.all.rp_filter=0",
  "net.ipv4.conf.default.rp_filter=0",
  "net.ipv6.conf.all.accept_dad=0",
  "net.ipv6.conf.default.accept_dad=0",
  "net.ipv6.conf.all.disable_ipv6=0",
];

export class NetworkRig implements AsyncDisposable {
  readonly #pods: ReadonlyMap<string, Pod>;
  readonly #opened: AsyncDisposableStack;

  private constructor(pods: ReadonlyMap<string, Pod>, opened: AsyncDisposableStack) {
    this.#pods = pods;
    this.#opened = opened;
  }

  /**
   * A pod for each name, 10.77.0.1 and fd00:77::1 the first, every one reachable from the others.
   * @throws {Error} with a sentence where this machine cannot.
   */
  static async create(names: readonly string[]): Promise<NetworkRig> {
    await requireNamespaces();
    await using opened = new AsyncDisposableStack();
    const hub = opened.use(await Pod.create({ name: "hub", ipv4: "", ipv6: "" }));
    await hub.run(["ip", "-batch", "-"], {
      stdin: "link set lo up\nlink add bridge type bridge stp_state 0\nlink set bridge up\n",
    });
    const pods = new Map<string, Pod>();
    for (const [index, name] of names.entries()) {
      const pod = await Pod.create({ name, ipv4: IPV4(index + 1), ipv6: IPV6(index + 1) });
      pods.set(name, opened.use(pod));
      await pod.run(["sysctl", "-q", "-w", ...SYSCTLS]);
      await pod.run(["ip", "-batch", "-"], {
        stdin: [
          "link set lo up",
          `link add eth0 type veth peer name port${index} netns ${hub.pid}`,
          `address add ${pod.ipv4}/24 dev eth0`,
          `address add ${pod.ipv6}/64 dev eth0 nodad`,
          "link set eth0 up",
          "",
        ].join("\n"),
      });
      await hub.run(["ip", "-batch", "-"], {
        stdin: `link set port${index} master bridge\nlink set port${index} up\n`,
      });
    }
    return new NetworkRig(pods, opened.move());
  }

  pod(name: string): Pod {
    const pod = this.#pods.get(name);
    if (pod === undefined) throw new Error(`The rig has no pod ${name}`);
    return pod;
  }

  /** Closed before the pods are. */
  use<Resource extends AsyncDisposable | Disposable>(resource: Resource): Resource {
    return this.#opened.use(resource);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }
}

/** Numbers of the network namespaces in which a process runs. */
export async function namespacesInUse(): Promise<readonly string[]> {
  return (await output(["lsns", "--type=net", "--noheadings", "--output=NS"])).split("\n")
    .map((line) => line.trim());
}

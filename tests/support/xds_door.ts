// The address of a control plane that outlives it: passes connections on, or refuses, cuts and stalls them.
import { once } from "node:events";
import net from "node:net";

interface Passed {
  readonly outside: net.Socket;
  readonly inside: net.Socket;
}

/** A relay in front of a server on 127.0.0.1. Its own address stays the same from start to disposal. */
export class XdsDoor implements AsyncDisposable {
  readonly ip: string;
  readonly port: number;
  /** Connections accepted so far. */
  accepted = 0;
  #targetPort: number;
  readonly #passed = new Set<Passed>();
  #server: net.Server | null;

  private constructor(ip: string, targetPort: number, server: net.Server) {
    this.ip = ip;
    this.port = (server.address() as net.AddressInfo).port;
    this.#targetPort = targetPort;
    this.#server = server;
    server.on("connection", (outside) => this.#pass(outside));
  }

  static async open(ip: string, targetPort: number): Promise<XdsDoor> {
    return new XdsDoor(ip, targetPort, await listening(ip, 0));
  }

  get isOpen(): boolean {
    return this.#server !== null;
  }

  /** How many connections pass now. */
  get passing(): number {
    return this.#passed.size;
  }

  /** Ends every connection with RST; new ones pass. */
  cut(): void {
    for (const { outside, inside } of this.#passed) {
      outside.resetAndDestroy();
      inside.resetAndDestroy();
    }
  }

  /** Nothing more passes on the connections there are, and nobody is told. */
  stall(): void {
    for (const { outside, inside } of this.#passed) {
      outside.unpipe(inside).pause();
      inside.unpipe(outside).pause();
    }
  }

  /** New connections lead to this port of 127.0.0.1. */
  leadTo(targetPort: number): void {
    this.#targetPort = targetPort;
  }

  /** Nobody is there any more: connections are cut and new ones refused by the kernel. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = once(server, "close");
    server.close();
    this.cut();
    await closed;
  }

  /** Listens again, on the same port. */
  async reopen(): Promise<void> {
    this.#server = await listening(this.ip, this.port);
    this.#server.on("connection", (outside) => this.#pass(outside));
  }

  #pass(outside: net.Socket): void {
    this.accepted++;
    const inside = net.connect({ host: "127.0.0.1", port: this.#targetPort, noDelay: true });
    const passed = { outside, inside };
    this.#passed.add(passed);
    outside.pipe(inside).pipe(outside);
    for (const [end, other] of [[outside, inside], [inside, outside]] as const) {
      end.on("error", () => {}); // What an end does to the other is told by its closing.
      end.on("close", () => {
        this.#passed.delete(passed);
        other.destroy();
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await this.close();
  }
}

async function listening(ip: string, port: number): Promise<net.Server> {
  const server = net.createServer({ noDelay: true, allowHalfOpen: false });
  server.listen(port, ip);
  await once(server, "listening");
  return server;
}

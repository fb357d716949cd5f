// A steady stream of short connections through a proxy, each asking who answers.
import { connectSocks5, writeAll } from "./socks5.ts";

export interface Visit {
  readonly startedMs: number;
  /** What the application said; null: the connection failed. */
  readonly answer: string | null;
  /** Why it failed. */
  readonly error: string | null;
}

/** Asks once on an open connection; the answer's line. */
export async function ask(connection: Deno.Conn): Promise<string> {
  await writeAll(connection, new TextEncoder().encode("?\n"));
  let text = "";
  const buffer = new Uint8Array(256);
  while (!text.endsWith("\n")) {
    const count = await connection.read(buffer);
    if (count === null) throw new Error(`Ended after ${JSON.stringify(text)}`);
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  return text.trimEnd();
}

/** Connects, asks, closes. */
export async function visit(
  proxyIp: string,
  target: { readonly ip: string; readonly port: number },
): Promise<string> {
  const connection = await connectSocks5(proxyIp, target);
  try {
    return await ask(connection);
  } finally {
    connection.close();
  }
}

/** Runs from its making to its disposal. */
export class Traffic implements AsyncDisposable {
  readonly visits: Visit[] = [];
  readonly #callers: Promise<void>[];
  #isRunning = true;

  /** @param options.callers How many connect at once, each again as soon as it has its answer. */
  constructor(
    proxyIp: string,
    target: { readonly ip: string; readonly port: number },
    options: { readonly callers: number },
  ) {
    const call = async () => {
      while (this.#isRunning) {
        const startedMs = performance.now();
        let answer: string | null = null;
        let error: string | null = null;
        try {
          answer = await visit(proxyIp, target);
        } catch (cause) {
          error = String(cause);
        }
        this.visits.push({ startedMs, answer, error });
        await new Promise((resolve) => setTimeout(resolve, 1)); // Leaves the machine to others, too.
      }
    };
    this.#callers = Array.from({ length: options.callers }, call);
  }

  /** What failed so far. */
  get failures(): readonly Visit[] {
    return this.visits.filter(({ answer }) => answer === null);
  }

  /** Who answered the next `count` connections that begin from now on. */
  async next(count: number, withinMs = 20_000): Promise<Set<string | null>> {
    const fromMs = performance.now();
    const seen = () => this.visits.filter(({ startedMs }) => startedMs >= fromMs);
    while (seen().length < count) {
      if (performance.now() > fromMs + withinMs) {
        throw new Error(`${seen().length} of ${count} connections in ${withinMs} ms`);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return new Set(seen().slice(0, count).map(({ answer }) => answer));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isRunning = false;
    await Promise.all(this.#callers);
  }
}

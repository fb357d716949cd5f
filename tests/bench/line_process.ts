// A program that is spoken with in lines: those it says on stdout and stderr, and those it is told.
import { ToolError } from "./processes.ts";

const LINES_KEPT = 20_000;
const STOPPED_WITHIN_MS = 15_000;

export interface LineProcessOptions {
  readonly command: readonly string[];
  /** All there is of its environment, but for what the runtime needs to be found. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Runs until disposed. */
export class LineProcess implements AsyncDisposable {
  readonly pid: number;
  readonly lines: string[] = [];
  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reading: Promise<unknown>;
  #hasEnded = false;
  #wake: () => void = () => {};

  constructor({ command, env, cwd }: LineProcessOptions) {
    const [program, ...args] = command;
    this.#name = command.slice(0, 3).join(" ");
    const inherited = ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME"]
      .flatMap((name) => Deno.env.get(name) === undefined ? [] : [[name, Deno.env.get(name)!]]);
    this.#child = new Deno.Command(program!, {
      args,
      clearEnv: env !== undefined,
      env: { ...Object.fromEntries(inherited), NO_COLOR: "1", ...env },
      ...(cwd === undefined ? {} : { cwd }),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.pid = this.#child.pid;
    this.#stdin = this.#child.stdin.getWriter();
    this.#reading = Promise.all([this.#read(this.#child.stdout), this.#read(this.#child.stderr)]);
    this.#child.status.then(() => {
      this.#hasEnded = true;
      this.#wake();
    });
  }

  async tell(line: string): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode(`${line}\n`));
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** What `find` makes of the first line that it makes something of. @throws {ToolError} after `withinMs`. */
  async line<Found>(find: (line: string) => Found | null, withinMs = 30_000): Promise<Found> {
    const deadlineMs = performance.now() + withinMs;
    for (let looked = 0;;) {
      for (; looked < this.lines.length; looked++) {
        const found = find(this.lines[looked]!);
        if (found !== null) return found;
      }
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0 || this.#hasEnded) {
        const said = this.lines.slice(-10).join("\n");
        const what = this.#hasEnded ? "ended" : "said nothing that was waited for";
        throw new ToolError(`${this.#name} ${what}:\n${said}`);
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, leftMs);
      this.#wake = resolve;
      await promise;
      clearTimeout(timer);
    }
  }

  /** The value of `key` in the first line of JSON that has it. */
  told<Value>(key: string, withinMs?: number): Promise<Value> {
    return this.line((line) => {
      if (!line.startsWith("{") || !line.includes(`"${key}"`)) return null;
      return (JSON.parse(line) as Record<string, Value>)[key] ?? null;
    }, withinMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stdin.close().catch(() => {}); // It may have ended.
    if (!this.#hasEnded) this.#kill("SIGTERM");
    const killing = setTimeout(() => this.#kill("SIGKILL"), STOPPED_WITHIN_MS);
    await this.#child.status;
    clearTimeout(killing);
    await this.#reading;
  }

  #kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: it has ended already.
    }
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop()!;
      if (this.lines.length < LINES_KEPT) this.lines.push(...parts);
      this.#wake();
    }
  }
}

// The program as its tasks run it: permission sets of deno.json as flags, signals, and what it prints.
import config from "../../deno.json" with { type: "json" };

const ROOT = new URL("../../", import.meta.url).pathname;

/** Lists by kind; true: all of the kind. */
export type PermissionSet = Readonly<Record<string, readonly string[] | boolean>>;

export const PERMISSION_SETS: Readonly<Record<string, PermissionSet>> = config.permissions;

/** One thing that a set allows. */
export interface Grant {
  readonly kind: string;
  readonly what: string;
}

/** The grants that can be taken away one by one. */
export function grantsOf(set: PermissionSet): Grant[] {
  return Object.entries(set).flatMap(([kind, list]) =>
    typeof list === "boolean" ? [] : list.map((what) => ({ kind, what }))
  );
}

/** The set as command-line flags, less one grant if asked. */
export function flagsOf(set: PermissionSet, without?: Grant): string[] {
  return Object.entries(set).flatMap(([kind, list]) => {
    if (typeof list === "boolean") return list ? [`--allow-${kind}`] : [];
    const left = list.filter((what) => kind !== without?.kind || what !== without.what);
    return left.length === 0 ? [] : [`--allow-${kind}=${left.join(",")}`];
  });
}

export interface CommandLine {
  readonly flags: readonly string[];
  /** A file to run instead of mod.ts. */
  readonly program?: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A running program; its output is collected. Disposing kills it. */
export class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  readonly #watchers = new Set<() => void>();
  stdout = "";
  stderr = "";

  constructor({ flags, program = "mod.ts", args, env }: CommandLine) {
    const kept = ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME"].flatMap((name) => {
      const value = Deno.env.get(name);
      return value === undefined ? [] : [[name, value]];
    });
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", ...flags, program, ...args],
      cwd: ROOT,
      clearEnv: true,
      env: { ...Object.fromEntries(kept), NO_COLOR: "1", DENO_TLS_CA_STORE: "", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = Promise.all([
      this.#read(this.#child.stdout, (text) => this.stdout += text),
      this.#read(this.#child.stderr, (text) => this.stderr += text),
    ]);
  }

  get pid(): number {
    return this.#child.pid;
  }

  signal(name: Deno.Signal): void {
    this.#child.kill(name);
  }

  /** The exit code; after `withinMs` the program is killed and this fails. */
  async ended(withinMs: number): Promise<number> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#child.kill("SIGKILL");
    }, withinMs);
    const { code } = await this.#child.status;
    clearTimeout(timer);
    await this.#reading;
    if (late) throw new Error(`Still running after ${withinMs} ms:\n${this.stdout}${this.stderr}`);
    return code;
  }

  /** Resolves when stdout holds `text`. */
  async printed(text: string, withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (!this.stdout.includes(text)) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) {
        throw new Error(`Did not print "${text}" in time:\n${this.stdout}${this.stderr}`);
      }
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#watchers.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, leftMs);
        this.#watchers.add(wake);
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: it has ended.
    }
    await this.#child.status;
    await this.#reading;
  }

  async #read(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      take(text);
      for (const wake of [...this.#watchers]) wake();
    }
  }
}

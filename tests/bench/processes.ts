// Programs that a bench starts, and what it waits for. Whoever starts one ends it, by its own id.

const STOPPED_WITHIN_MS = 15_000;
const LAST_WORDS_CHARACTERS = 2_000;

/** A tool is missing or failed; says which package has it. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}

export interface BackgroundOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly clearEnv?: boolean;
  readonly cwd?: string;
}

/** A program that runs until disposed; stdout is thrown away, the last of stderr is kept. */
export class Background implements AsyncDisposable {
  readonly pid: number;
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #lastWords = "";
  #ended = false;

  constructor(command: readonly string[], options: BackgroundOptions = {}) {
    this.#child = new Deno.Command(command[0]!, {
      ...options,
      args: command.slice(1),
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.pid = this.#child.pid;
    this.#reading = this.#read();
    this.#child.status.then(() => this.#ended = true);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** The end of what it said on stderr. */
  get lastWords(): string {
    return this.#lastWords.trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal("SIGTERM");
    const killing = setTimeout(() => this.#signal("SIGKILL"), STOPPED_WITHIN_MS);
    await this.#child.status;
    clearTimeout(killing);
    await this.#reading;
  }

  async #read(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#lastWords = (this.#lastWords + text).slice(-LAST_WORDS_CHARACTERS);
    }
  }

  #signal(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: it has ended already.
    }
  }
}

/** Runs to the end and gives stdout. @throws {ToolError} naming `packageName` when it is not there. */
export async function run(
  command: readonly string[],
  packageName: string,
  options: { readonly timeoutMs?: number } = {},
): Promise<string> {
  try {
    const output = await new Deno.Command(command[0]!, {
      args: command.slice(1),
      stdin: "null",
      signal: AbortSignal.timeout(options.timeoutMs ?? 300_000),
    }).output();
    const text = new TextDecoder().decode(output.stdout);
    if (output.success) return text;
    // iperf3 says what went wrong in its report, on stdout.
    const said = (new TextDecoder().decode(output.stderr) + text).trim().slice(-600);
    throw new ToolError(`${command.join(" ")} ended with ${output.code}: ${said}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new ToolError(`Cannot run ${command[0]}: it is not installed, and needs ${packageName}`);
  }
}

/** Asks again and again until it is so. @throws {ToolError} after `withinMs`, or once `process` ended. */
export async function until(
  what: string,
  isSo: () => Promise<boolean>,
  options: { readonly withinMs: number; readonly process?: Background },
): Promise<void> {
  const deadline = performance.now() + options.withinMs;
  while (!await isSo()) {
    const { process } = options;
    const said = process?.lastWords ?? "";
    if (process?.ended === true) throw new ToolError(`${what}: it ended. ${said}`);
    if (performance.now() > deadline) throw new ToolError(`${what}: not in time. ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

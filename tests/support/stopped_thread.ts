// One thread of another process, made to stand still by ptrace(2): a signal would stop them all.

const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
/** Of any kind of thread, without waiting. */
const WALL_NOHANG = 0x4000_0000 | 1;
const REAP_MS = 20;

const SYMBOLS = {
  ptrace: { parameters: ["i64", "i32", "pointer", "pointer"], result: "i64" },
  waitpid: { parameters: ["i32", "pointer", "i32"], result: "i32" },
} as const;

/** Stands still until it is disposed of, or its process ends. The process must be a child of this one. */
export class StoppedThread implements Disposable {
  readonly #libc = Deno.dlopen("libc.so.6", SYMBOLS);
  readonly #reaping: ReturnType<typeof setInterval>;

  /** @param name What the thread's name begins with; exactly one must. */
  constructor(pid: number, name: string) {
    const threads = [...Deno.readDirSync(`/proc/${pid}/task`)].map((entry) => Number(entry.name))
      .filter((tid) => Deno.readTextFileSync(`/proc/${pid}/task/${tid}/comm`).startsWith(name));
    const [tid] = threads;
    if (tid === undefined || threads.length > 1) {
      throw new Error(`${threads.length} threads of process ${pid} are called ${name}`);
    }
    const { ptrace, waitpid } = this.#libc.symbols;
    for (const request of [PTRACE_SEIZE, PTRACE_INTERRUPT]) {
      if (ptrace(BigInt(request), tid, null, null) !== 0n) {
        this.#libc.close();
        throw new Error(`Cannot stop thread ${tid}: ptrace is refused here`);
      }
    }
    // Its process is not over for its parent until whoever traces a thread has heard of that one's end.
    this.#reaping = setInterval(() => waitpid(tid, null, WALL_NOHANG), REAP_MS);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#reaping);
    this.#libc.close();
  }
}

// How a data plane's loop fares: seen from outside by its thread's sleeps, from inside by its own count of turns.

/** The thread of a data plane in an isolate of its own: the runtime names those of web workers so. */
const WORKER_THREAD = /^worker-\d+$/;

/** Sleeps of one thread so far (proc(5): voluntary_ctxt_switches): each ends with a wake. */
export function parseSleeps(status: string): number {
  return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1] ?? NaN);
}

/** Sleeps so far of all data-plane threads of `pid`; NaN when it has none. */
export function dataPlaneSleeps(pid: number): number {
  let sleeps = NaN;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    const task = `/proc/${pid}/task/${name}`;
    if (!WORKER_THREAD.test(Deno.readTextFileSync(`${task}/comm`).trim())) continue;
    const own = parseSleeps(Deno.readTextFileSync(`${task}/status`));
    sleeps = Number.isNaN(sleeps) ? own : sleeps + own;
  }
  return sleeps;
}

/** What a proxy's `/config_dump` says of its loop; NaN for each that it does not say. */
export interface LoopReport {
  readonly turnP99Us: number;
  readonly turnMaxUs: number;
}

export function parseLoopReport(dump: string): LoopReport {
  const loop = JSON.parse(dump)?.dataPlane?.loop;
  const number = (value: unknown) => typeof value === "number" ? value : NaN;
  return { turnP99Us: number(loop?.turnP99Us), turnMaxUs: number(loop?.turnMaxUs) };
}

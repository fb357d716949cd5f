// Who used the processors during a measurement: a wrong set-up, or somebody else's work, shows here.

/** CPU seconds that a process has used so far. */
export interface ProcessTime {
  readonly command: string;
  readonly seconds: number;
}

export type ProcessTimes = ReadonlyMap<number, ProcessTime>;

export interface BusyProcess {
  readonly pid: number;
  readonly command: string;
  /** Of one core, in percent. */
  readonly percent: number;
}

const CLOCK_TICKS_PER_SECOND = 100;
/** Less than this is not worth a place on the line. */
export const SHOWN_PERCENT_MIN = 3;

/** One line of /proc/PID/stat (proc(5), fields 2, 14 and 15); null when it is not one. */
export function parseStat(text: string): ProcessTime | null {
  const from = text.indexOf("(");
  const to = text.lastIndexOf(")"); // The command may hold parentheses itself.
  if (from < 0 || to < from) return null;
  const fields = text.slice(to + 2).split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  if (!Number.isFinite(ticks)) return null;
  return { command: text.slice(from + 1, to), seconds: ticks / CLOCK_TICKS_PER_SECOND };
}

/** Every process of the machine. */
export function processTimes(): ProcessTimes {
  const times = new Map<number, ProcessTime>();
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const time = parseStat(Deno.readTextFileSync(`/proc/${name}/stat`));
      if (time !== null) times.set(Number(name), time);
    } catch (error) {
      // It ended between the listing and the reading: ENOENT or ESRCH.
      if (!(error instanceof Deno.errors.NotFound) && !String(error).includes("os error 3")) {
        throw error;
      }
    }
  }
  return times;
}

/** Those above {@link SHOWN_PERCENT_MIN}, busiest first; who ended meanwhile is not counted. */
export function busiest(
  before: ProcessTimes,
  after: ProcessTimes,
  options: { readonly seconds: number; readonly countMax: number },
): BusyProcess[] {
  const busy: BusyProcess[] = [];
  for (const [pid, { command, seconds }] of after) {
    const used = seconds - (before.get(pid)?.seconds ?? 0);
    const percent = used / options.seconds * 100;
    if (percent >= SHOWN_PERCENT_MIN) busy.push({ pid, command, percent });
  }
  return busy.sort((a, b) => b.percent - a.percent).slice(0, options.countMax);
}

/** `outbound 97%, inbound 61%; others: rustc 40%`: by role where it has one in the chain that is measured. */
export function describeBusy(
  busy: readonly BusyProcess[],
  roles: ReadonlyMap<number, string>,
): string {
  const shown = (name: string, { percent }: BusyProcess) => `${name} ${percent.toFixed(0)}%`;
  const own = busy.filter(({ pid }) => roles.has(pid));
  const others = busy.filter(({ pid }) => !roles.has(pid));
  const parts = [own.map((each) => shown(roles.get(each.pid)!, each)).join(", ")];
  if (others.length > 0) {
    parts.push(`others: ${others.map((each) => shown(each.command, each)).join(", ")}`);
  }
  return parts.filter((part) => part !== "").join("; ");
}

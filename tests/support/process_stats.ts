// What Linux says about a running process: CPU seconds, memory, open descriptors.

/** USER_HZ: fixed at 100 for every architecture Deno ships for. */
const CLOCK_TICKS_PER_SECOND = 100;

/** CPU time used so far by all threads of `pid`, user and kernel, in seconds (proc(5), fields 14 and 15). */
export function cpuSeconds(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The command, field 2, is in parentheses and may hold anything; fields 3 and up follow the last one.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

/** Resident memory of `pid`, in octets. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
  return match === null ? 0 : Number(match[1]) * 1024;
}

/** Open descriptors of `pid`. */
export function openDescriptors(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

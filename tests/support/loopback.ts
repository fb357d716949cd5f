// Loopback addresses of a test's own, so that the proxies' fixed ports never meet another test's.

let blocksGiven = 0;

/** A prefix like `127.93.17`; `${prefix}.1` to `${prefix}.254` are this caller's alone on this machine. */
export function loopbackBlock(): string {
  const high = 64 + (Deno.pid >> 7) % 128;
  const low = ((Deno.pid & 0x7f) * 2 + blocksGiven++) % 256;
  return `127.${high}.${low}`;
}

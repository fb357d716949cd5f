// How many threads carry traffic (spec/config-and-observability §2.5). Pure.
import { type EnvReader, U64_LIMIT } from "./env_reader.ts";
import { invalidVariable } from "./errors.ts";

/** More threads than any machine has use for; what comes out larger is this. */
export const WORKER_THREADS_MAX = 1_024;

/**
 * Worker threads, 1 to WORKER_THREADS_MAX.
 * @param options.concurrency ProxyConfig's; 0: as many as there are CPUs; null: not said.
 * @param options.cpus Logical CPUs of the machine.
 * @throws {ConfigError}
 */
export function readWorkerThreads(
  read: EnvReader,
  options: { readonly concurrency: number | null; readonly cpus: number },
): number {
  const limit = readCpus(read, "ZTUNNEL_RESOURCE_CPU_LIMIT");
  const request = readCpus(read, "ZTUNNEL_RESOURCE_CPU_REQUEST") ?? 0;
  const cpus = limit ?? read.integer("ZTUNNEL_CPU_LIMIT", options.cpus, { max: U64_LIMIT });
  const threads = readAsked(read, cpus) ??
    fromConcurrency(options.concurrency, cpus) ??
    (limit === null ? Math.max(Math.ceil(cpus / 4), request, 2) : Math.max(limit, request));
  return Math.min(Math.max(threads, 1), WORKER_THREADS_MAX);
}

/** `ZTUNNEL_WORKER_THREADS`: a number, 0 for all CPUs, or a share of them. */
function readAsked(read: EnvReader, cpus: number): number | null {
  const name = "ZTUNNEL_WORKER_THREADS";
  const value = read.text(name);
  if (value === null || !value.endsWith("%")) {
    const threads = read.integer(name, null, { max: U64_LIMIT });
    return threads === 0 ? cpus : threads;
  }
  const percent = decimal(value.slice(0, -1));
  if (!(percent > 0 && percent <= 100)) {
    throw invalidVariable(name, value, "percentage must be between 0 and 100");
  }
  return Math.ceil(cpus * percent / 100);
}

function fromConcurrency(concurrency: number | null, cpus: number): number | null {
  return concurrency === 0 ? cpus : concurrency;
}

/** A CPU quantity as Kubernetes writes it (`2`, `1.5`, `500m`), rounded up to whole CPUs. */
function readCpus(read: EnvReader, name: string): number | null {
  const value = read.text(name);
  if (value === null) return null;
  const cpus = value.endsWith("m")
    ? Math.ceil(decimal(value.slice(0, -1)) / 1_000)
    : Math.ceil(decimal(value));
  if (!(cpus > 0 && cpus < Infinity)) {
    throw invalidVariable(name, value, "must be a positive CPU quantity");
  }
  return cpus;
}

/** Digits, with a fraction or not; NaN for anything else. */
function decimal(text: string): number {
  return /^\+?(\d+(\.\d*)?|\.\d+)$/.test(text) ? Number(text) : NaN;
}

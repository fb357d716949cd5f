// Tests of worker_threads.ts (spec/config-and-observability §2.5).
import { assertEquals, assertThrows } from "@std/assert";
import { EnvReader } from "./env_reader.ts";
import { ConfigError } from "./errors.ts";
import { readWorkerThreads, WORKER_THREADS_MAX } from "./worker_threads.ts";

interface Case {
  readonly asked?: string;
  readonly cpuLimit?: string;
  readonly limit?: string;
  readonly request?: string;
  readonly concurrency?: number;
  /** Of the machine; 64 by default. */
  readonly cpus?: number;
}

function threads({ asked, cpuLimit, limit, request, concurrency, cpus }: Case): number {
  const variables: Readonly<Record<string, string | undefined>> = {
    ZTUNNEL_WORKER_THREADS: asked,
    ZTUNNEL_CPU_LIMIT: cpuLimit,
    ZTUNNEL_RESOURCE_CPU_LIMIT: limit,
    ZTUNNEL_RESOURCE_CPU_REQUEST: request,
  };
  return readWorkerThreads(new EnvReader((name) => variables[name]), {
    concurrency: concurrency ?? null,
    cpus: cpus ?? 64,
  });
}

Deno.test.each<Case & { expected: number }>([
  // The specification's examples.
  { cpuLimit: "8", asked: "50%", expected: 4 },
  { cpuLimit: "16", asked: "30%", expected: 5 },
  { cpuLimit: "4", asked: "10%", expected: 1 },
  { cpuLimit: "32", expected: 8 },
  { limit: "2500m", expected: 3 },
  { limit: "4", request: "8", expected: 8 },
  // Asked for.
  { asked: "3", limit: "8", concurrency: 5, expected: 3 },
  { asked: "+3", expected: 3 },
  { asked: "0", expected: 64 },
  { asked: "0", cpuLimit: "8", expected: 8 },
  { asked: "0", cpuLimit: "8", limit: "6", expected: 6 },
  { asked: "100%", cpuLimit: "8", expected: 8 },
  { asked: "0.1%", cpuLimit: "8", expected: 1 },
  { asked: "33.4%", limit: "3", expected: 2 },
  // ProxyConfig.
  { concurrency: 5, limit: "8", expected: 5 },
  { concurrency: 0, cpuLimit: "8", expected: 8 },
  // Derived.
  { limit: "8", expected: 8 },
  { limit: "8", request: "2", expected: 8 },
  { limit: "500m", expected: 1 },
  { limit: "1.5", expected: 2 },
  { limit: ".5", expected: 1 },
  { request: "200m", expected: 16 },
  { request: "20", expected: 20 },
  { request: "20", cpuLimit: "8", expected: 20 },
  { cpus: 1, expected: 2 },
  { cpus: 9, expected: 3 },
  { cpuLimit: "0", asked: "0", expected: 1 },
])("readWorkerThreads() %j", ({ expected, ...variables }) => {
  assertEquals(threads(variables), expected);
});

Deno.test.each<Case & { expected: string }>([
  ...["0%", "100.1%", "-1%", "%", "x%", "1e1%", "NaN%", "1.2.3%"].map((asked) => ({
    asked,
    expected: `ZTUNNEL_WORKER_THREADS=${asked} (percentage must be between 0 and 100)`,
  })),
  { asked: "many", expected: "ZTUNNEL_WORKER_THREADS=many (invalid digit found in string)" },
  { asked: "-1", expected: "ZTUNNEL_WORKER_THREADS=-1 (invalid digit found in string)" },
  { asked: "", expected: "ZTUNNEL_WORKER_THREADS= (cannot parse integer from empty string)" },
  { cpuLimit: "1.5", expected: "ZTUNNEL_CPU_LIMIT=1.5 (invalid digit found in string)" },
  ...["0", "0m", "0.0", "-1", "", "m", "1k", "1 ", "1e3", "Infinity", "9".repeat(400)].map((
    limit,
  ) => ({
    limit,
    expected: `ZTUNNEL_RESOURCE_CPU_LIMIT=${limit} (must be a positive CPU quantity)`,
  })),
  {
    request: "half",
    expected: "ZTUNNEL_RESOURCE_CPU_REQUEST=half (must be a positive CPU quantity)",
  },
])("readWorkerThreads() refuses %j", ({ expected, ...variables }) => {
  const { message } = assertThrows(() => threads(variables), ConfigError);
  assertEquals(message, `invalid env var ${expected}`);
});

Deno.test("readWorkerThreads() goes up to WORKER_THREADS_MAX", () => {
  const limits = [WORKER_THREADS_MAX - 1, WORKER_THREADS_MAX, WORKER_THREADS_MAX + 1];
  assertEquals(limits.map((limit) => threads({ asked: `${limit}` })), [
    WORKER_THREADS_MAX - 1,
    WORKER_THREADS_MAX,
    WORKER_THREADS_MAX,
  ]);
  assertEquals(threads({ limit: "9".repeat(300) }), WORKER_THREADS_MAX);
});

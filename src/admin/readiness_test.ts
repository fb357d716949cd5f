// Readiness: what is pending, what is logged, and what the probe is told.
import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../base/assert.ts";
import { VirtualClock } from "../base/virtual_clock.ts";
import type { HttpRequest } from "./http_server.ts";
import { Readiness } from "./readiness.ts";
import { readinessHandler } from "./readiness_handler.ts";

function setUp() {
  const clock = new VirtualClock();
  const lines: string[] = [];
  const logger = {
    log: (level: string, scope: string, message: string | null) => {
      lines.push(`${level} ${scope} ${message}`);
    },
  };
  return { clock, lines, readiness: new Readiness({ logger, clock }) };
}

function request(changes: Partial<HttpRequest> = {}): HttpRequest {
  return { method: "GET", path: "/healthz/ready", query: "", headers: new Headers(), ...changes };
}

Deno.test("Readiness logs each task and who is still awaited", () => {
  const { clock, lines, readiness } = setUp();
  const state = readiness.register("state manager");
  const proxy = readiness.register("proxy");
  const dns = readiness.register("dns proxy");
  clock.advance(1.5);
  proxy.complete();
  clock.advance(500);
  state.complete();
  clock.advance(1_548.5);
  dns.complete();
  assertEquals(lines, [
    "info ztunnel::readiness Task 'proxy' complete (1.5ms), still awaiting 2 tasks",
    "info ztunnel::readiness Task 'state manager' complete (501.5ms), still awaiting 1 tasks",
    "info ztunnel::readiness Task 'dns proxy' complete (2.05s), marking server ready",
  ]);
});

Deno.test("Readiness says nothing about a task that was complete already", () => {
  const { lines, readiness } = setUp();
  const task = readiness.register("proxy");
  task.complete();
  task.complete();
  assertEquals(lines.length, 1);
});

Deno.test("Readiness is lost and regained with a reopened task", () => {
  const { lines, readiness } = setUp();
  const task = readiness.register("workload proxy manager");
  task.complete();
  task.reopen();
  task.reopen();
  assertEquals(readiness.pending, ["workload proxy manager"]);
  task.complete();
  assertEquals(readiness.pending, []);
  const line = "info ztunnel::readiness Task 'workload proxy manager' complete (0ns), " +
    "marking server ready";
  assertEquals(lines, [line, line]);
});

Deno.test("Readiness takes each name once", () => {
  const { readiness } = setUp();
  readiness.register("proxy");
  assertThrows(() => readiness.register("proxy"), AssertionFailure);
});

Deno.test("readinessHandler() names what is pending, sorted, then answers ready", async () => {
  const { readiness } = setUp();
  const handler = readinessHandler(readiness);
  const tasks = [readiness.register("workload proxy manager"), readiness.register("state manager")];
  const before = await handler(request());
  assertEquals(
    [before.status, before.headers.get("content-type"), await before.text()],
    [500, "text/plain", "not ready, pending: state manager, workload proxy manager\n"],
  );
  for (const task of tasks) task.complete();
  const after = await handler(request());
  assertEquals(
    [after.status, after.headers.get("content-type"), await after.text()],
    [200, "text/plain", "ready\n"],
  );
});

Deno.test.each([
  { method: "HEAD", path: "/healthz/ready", status: 405 },
  { method: "POST", path: "/healthz/ready", status: 405 },
  { method: "GET", path: "/healthz/ready/", status: 404 },
  { method: "GET", path: "/metrics", status: 404 },
])("readinessHandler() answers $method $path with an empty $status", async (row) => {
  const { method, path, status } = row;
  const response = await readinessHandler(setUp().readiness)(request({ method, path }));
  assertEquals([response.status, response.body], [status, null]);
  assertEquals([...response.headers], []);
});

// The three servers over real loopback: HTTP rules of spec/config-and-observability §5.1, endpoints, drain.
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { LogEvent } from "../telemetry/log_event.ts";
import { LogFilter } from "../telemetry/log_filter.ts";
import { formatPlain } from "../telemetry/log_format.ts";
import { Logger } from "../telemetry/logger.ts";
import { renderMetrics } from "../telemetry/metrics_page.ts";
import { buildInfo } from "../telemetry/version.ts";
import { adminHandler } from "./admin_handler.ts";
import {
  BindError,
  HEAD_BYTES_MAX,
  type HttpHandler,
  HttpServer,
  LISTEN_AGAIN_MS,
} from "./http_server.ts";
import { textResponse } from "./responses.ts";
import { statsHandler } from "./stats_handler.ts";

const ANY_PORT = { ip: "127.0.0.1", port: 0 };

interface TestServer extends AsyncDisposable {
  readonly server: HttpServer;
  readonly port: number;
  readonly events: LogEvent[];
  readonly shutdowns: { count: number };
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

type MakeHandler = (logger: Logger, shutdowns: { count: number }) => HttpHandler;

async function start(
  makeHandler: MakeHandler,
  component: "admin" | "stats" | "readiness" = "admin",
): Promise<TestServer> {
  const events: LogEvent[] = [];
  const logger = new Logger({
    filter: LogFilter.parse(undefined),
    sink: (event) => events.push(event),
    wallMs: () => 0,
  });
  const shutdowns = { count: 0 };
  const handler = makeHandler(logger, shutdowns);
  const server = await HttpServer.listen({ component, addresses: [ANY_PORT], handler, logger });
  const { port } = server.addresses[0]!;
  const client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  return {
    server,
    port,
    events,
    shutdowns,
    fetch: (path, init) => fetch(`http://127.0.0.1:${port}${path}`, { ...init, client }),
    async [Symbol.asyncDispose]() {
      client.close();
      await server.drain();
    },
  };
}

const admin: MakeHandler = (logger, shutdowns) =>
  adminHandler({
    logger,
    configDump: () => ({
      config: { proxy: true },
      version: buildInfo("1.30.0"),
      workloads: [],
      services: [],
      policies: [],
      certificates: [],
    }),
    explain: () => new Response("explained\n"),
    requestShutdown: () => void shutdowns.count++,
  });

const stats: MakeHandler = () => statsHandler(() => renderMetrics({ istioVersion: "1.30.0" }));

async function read(response: Response): Promise<[number, string | null, string]> {
  return [response.status, response.headers.get("content-type"), await response.text()];
}

/** Sends bytes and reads all that comes until the server closes. */
async function exchange(port: number, text: string): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode(text));
  return await new Response(connection.readable).text();
}

Deno.test("HttpServer.listen() logs where it listens, and drain() that it no longer does", async () => {
  const started = await start(admin);
  await started[Symbol.asyncDispose]();
  const rest = `address=127.0.0.1:${started.port} component="admin"\n`;
  assertEquals(started.events.map(formatPlain), [
    `1970-01-01T00:00:00.000000Z\tinfo\thyper_util\tlistener established\t${rest}`,
    `1970-01-01T00:00:00.000000Z\tinfo\thyper_util\tlistener drained\t${rest}`,
  ]);
});

Deno.test("HttpServer answers on every address", async () => {
  const logger = { log: () => {} };
  await using server = await HttpServer.listen({
    component: "admin",
    addresses: [ANY_PORT, { ip: "127.0.0.2", port: 0 }],
    handler: () => textResponse(200, "here"),
    logger,
  });
  for (const { ip, port } of server.addresses) {
    const response = await fetch(`http://${ip}:${port}/`);
    assertEquals(await response.text(), "here");
  }
});

Deno.test("HttpServer.listen() says which address is occupied, and leaves none open", async () => {
  await using first = await start(admin);
  const taken = { ip: "127.0.0.1", port: first.port };
  const free = freePort();
  const error = await assertRejects(
    () =>
      HttpServer.listen({
        component: "stats",
        addresses: [{ ip: "127.0.0.1", port: free }, taken],
        handler: () => textResponse(200, ""),
        logger: { log: () => {} },
      }),
    BindError,
  );
  assertEquals(
    [error.code, error.message],
    [
      "EADDRINUSE",
      `failed to bind to address 127.0.0.1:${first.port}: Address already in use (os error 98)`,
    ],
  );
  Deno.listen({ hostname: "127.0.0.1", port: free }).close();
});

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test({
  name: "HttpServer.listen() names the permission that is missing",
  permissions: { net: false },
  async fn() {
    const error = await assertRejects(
      () =>
        HttpServer.listen({
          component: "admin",
          addresses: [{ ip: "::1", port: 15000 }],
          handler: () => textResponse(200, ""),
          logger: { log: () => {} },
        }),
      BindError,
    );
    assertEquals(
      [error.code, error.message],
      [
        "PERMISSION_MISSING",
        "failed to bind to address [::1]:15000: missing permission --allow-net=[::1]:15000",
      ],
    );
  },
});

Deno.test("HttpServer speaks HTTP/1.0 and 1.1 with a length and a date", async () => {
  await using started = await start(stats, "stats");
  for (const version of ["1.0", "1.1"]) {
    const head = `GET /nothing HTTP/${version}\r\nHost: x\r\nConnection: close\r\n\r\n`;
    const answer = await exchange(started.port, head);
    assertMatch(answer, /^HTTP\/1\.[01] 404 Not Found\r\n/);
    assertMatch(answer, /\r\ncontent-length: 0\r\n/);
    assertMatch(answer, /\r\ndate: [A-Z]/);
    assertEquals(/content-type/i.test(answer), false);
  }
});

Deno.test("HttpServer turns what a handler throws into a 500 with its text", async () => {
  await using started = await start(() => () => {
    throw new Error("went wrong");
  });
  assertEquals(await read(await started.fetch("/")), [500, null, "went wrong"]);
});

Deno.test("HttpServer hands on the path as sent", async () => {
  const paths: string[] = [];
  await using started = await start(() => ({ path, query }) => {
    paths.push(`${path} ${query}`);
    return textResponse(200, "");
  });
  for (const target of ["/", "/a/../b?x=1&y=?", "//x/", "/%2e"]) {
    const head = `GET ${target} HTTP/1.1\r\nHost: strange host{}\r\nConnection: close\r\n\r\n`;
    assertMatch(await exchange(started.port, head), /^HTTP\/1\.1 200 /);
  }
  assertEquals(paths, ["/ ", "/a/../b x=1&y=?", "//x/ ", "/%2e "]);
});

Deno.test.each([
  { name: "just under", extra: -1, status: 200 },
  { name: "at", extra: 0, status: 200 },
  { name: "over", extra: 1, status: 431 },
])("HttpServer bounds the head at HEAD_BYTES_MAX: $name", async ({ extra, status }) => {
  await using started = await start(() => () => textResponse(200, "ok"));
  // What is counted beside the padding: "GET", the URL, and three headers with ": " and line end.
  const url = `http://x/`;
  const fixed = "GET".length + url.length + "host: x\r\n".length + "connection: close\r\n".length +
    "pad: \r\n".length;
  const pad = "p".repeat(HEAD_BYTES_MAX - fixed + extra);
  const head = `GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\npad: ${pad}\r\n\r\n`;
  assertMatch(await exchange(started.port, head), new RegExp(`^HTTP/1\\.1 ${status} `));
});

Deno.test("HttpServer answers garbage with 400 and goes on", async () => {
  await using started = await start(stats, "stats");
  assertMatch(await exchange(started.port, "\x16\x03\x01 no http\r\n\r\n"), /^HTTP\/1\.1 400 /);
  assertEquals((await read(await started.fetch("/metrics")))[0], 200);
});

Deno.test("HttpServer.drain() refuses new connections, ends idle ones and finishes requests", async () => {
  const finish = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const started = await start(() => async () => {
    begun.resolve();
    await finish.promise;
    return textResponse(200, "finished");
  });
  using idle = await Deno.connect({ hostname: "127.0.0.1", port: started.port });
  const answer = exchange(started.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await begun.promise;
  const drained = started.server.drain();
  assertEquals(started.server.drain() === drained, true);
  assertEquals(await new Response(idle.readable).text(), "");
  await assertRejects(() => Deno.connect({ hostname: "127.0.0.1", port: started.port }));
  finish.resolve();
  assertMatch(await answer, /finished$/);
  await drained;
  await started[Symbol.asyncDispose]();
});

Deno.test("GET / lists the endpoints as relative links", async () => {
  await using started = await start(admin);
  const [status, type, body] = await read(await started.fetch("/"));
  assertEquals([status, type], [200, "text/html; charset=utf-8"]);
  const links = [...body.matchAll(/href="([^"]+)"/g)].map((match) => match[1]);
  assertEquals(links, [
    "debug/pprof/profile",
    "debug/pprof/heap",
    "debug/pprof/heap/profiling",
    "quitquitquit",
    "config_dump",
    "logging",
    "debug/route",
  ]);
  assertMatch(body, /<title>Ztunnel Admin<\/title>/);
});

Deno.test("/config_dump is JSON, whatever the method and the query", async () => {
  await using started = await start(admin);
  for (const method of ["GET", "POST"]) {
    const [status, type, body] = await read(await started.fetch("/config_dump?x=1", { method }));
    assertEquals([status, type], [200, "application/json"]);
    assertEquals(JSON.parse(body).config, { proxy: true });
    assertEquals(JSON.parse(body).version.istioVersion, "1.30.0");
  }
});

Deno.test("POST /quitquitquit triggers the shutdown, each time", async () => {
  await using started = await start(admin);
  for (const count of [1, 2]) {
    const response = await started.fetch("/quitquitquit", { method: "POST" });
    assertEquals(await read(response), [200, "text/plain", "shutdown now\n"]);
    assertEquals(started.shutdowns.count, count);
  }
  assertEquals(await read(await started.fetch("/quitquitquit")), [405, null, ""]);
  assertEquals(started.shutdowns.count, 2);
});

Deno.test.each(["cross-site", "same-site"].map((site) => ({ site })))(
  "The admin port refuses a page of another site: $site",
  async ({ site }) => {
    await using started = await start(admin);
    const headers = { "sec-fetch-site": site };
    const response = await started.fetch("/quitquitquit", { method: "POST", headers });
    assertEquals(await read(response), [403, null, ""]);
    assertEquals(started.shutdowns.count, 0);
    const own = { "sec-fetch-site": "same-origin" };
    assertEquals((await read(await started.fetch("/config_dump", { headers: own })))[0], 200);
  },
);

Deno.test.each(
  [
    "/config_dump/",
    "/version",
    "/server_info",
    "/stats/prometheus",
    "/healthz/ready",
    "/constructor",
  ]
    .map((path) => ({ path })),
)("The admin port knows no $path", async ({ path }) => {
  await using started = await start(admin);
  assertEquals(await read(await started.fetch(path)), [404, null, ""]);
});

Deno.test("/debug/pprof/* answers 500 with a reason", async () => {
  await using started = await start(admin);
  for (const path of ["profile", "heap", "heap/profiling"]) {
    const [status, type, body] = await read(await started.fetch(`/debug/pprof/${path}`));
    assertEquals([status, type], [500, null]);
    assertMatch(body, /pprof/);
  }
});

Deno.test("POST /logging shows, merges and resets the filter", async () => {
  await using started = await start(admin);
  const answers: [number, string | null, string][] = [];
  for (
    const query of [
      "",
      "?level=",
      "?unknown=1",
      "?level=access=debug,info",
      "?level=warn",
      "?level=access%3Atrace",
      "?level=info&reset",
      "?level=debug&level=ztunnel::xds%3Derror",
      "?reset=anything",
    ]
  ) {
    answers.push(await read(await started.fetch(`/logging${query}`, { method: "POST" })));
  }
  const built = "hickory_server::server=off";
  assertEquals(
    answers.map(([status, type, body]) => `${status} ${type} ${body}`),
    [
      "info",
      "info",
      "info",
      "access=debug,info",
      "access=debug,warn",
      "access=trace,warn",
      "info",
      "ztunnel::xds=error,info",
      "info",
    ].map((filter) => `200 text/plain current log level is ${built},${filter}\n`),
  );
});

Deno.test("POST /logging takes effect at once", async () => {
  const loggers: Logger[] = [];
  await using started = await start((logger, shutdowns) => {
    loggers.push(logger);
    return admin(logger, shutdowns);
  });
  const debugLines = () => {
    loggers[0]!.log("debug", "access", "connection opened");
    return started.events.filter(({ level }) => level === "debug").length;
  };
  assertEquals(debugLines(), 0);
  await read(await started.fetch("/logging?level=access=debug", { method: "POST" }));
  assertEquals(debugLines(), 1);
  assertEquals(
    started.events.filter(({ scope }) => scope === "ztunnel::telemetry").map(formatPlain),
    [
      "1970-01-01T00:00:00.000000Z\tinfo\ttelemetry\tnew log filter is " +
      "hickory_server::server=off,access=debug,info\t\n",
    ],
  );
});

Deno.test("/logging refuses what it cannot read, and other methods", async () => {
  await using started = await start(admin);
  for (const spec of ["nope", "INFO"]) {
    const response = await started.fetch(`/logging?level=${spec}`, { method: "POST" });
    const [status, type, body] = await read(response);
    assertEquals([status, type], [400, "text/plain"]);
    assertEquals(body.startsWith(`Invalid level provided: ${spec}\nusage`), true);
  }
  for (const method of ["GET", "PUT"]) {
    const [status, type, body] = await read(await started.fetch("/logging?reset", { method }));
    assertEquals([status, type], [405, "text/plain"]);
    assertEquals(body.startsWith("Invalid HTTP method\n usage"), true);
    assertMatch(body, /error\|warn\|info\|debug\|trace\|off/);
  }
});

Deno.test("The metrics page has two names, any method, and nothing beside it", async () => {
  await using started = await start(stats, "stats");
  const pages = await Promise.all([
    started.fetch("/metrics"),
    started.fetch("/stats/prometheus?x"),
    started.fetch("/metrics", { method: "POST" }),
  ].map(async (response) => await read(await response)));
  const expected = [200, "text/plain; charset=utf-8", renderMetrics({ istioVersion: "1.30.0" })];
  assertEquals(pages, [expected, expected, expected]);
  assertEquals(await read(await started.fetch("/")), [404, null, ""]);
});

Deno.test("The metrics page follows Accept and Accept-Encoding", async () => {
  await using started = await start(stats, "stats");
  const plain = renderMetrics({ istioVersion: "1.30.0" });
  const openMetrics = await started.fetch("/metrics", {
    headers: { accept: "application/openmetrics-text;version=1.0.0" },
  });
  assertEquals(
    (await read(openMetrics))[1],
    "application/openmetrics-text;charset=utf-8;version=1.0.0",
  );
  for (const encoding of ["gzip", "deflate"]) {
    const head = `GET /metrics HTTP/1.0\r\nAccept-Encoding: ${encoding}\r\n\r\n`;
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: started.port });
    await connection.write(new TextEncoder().encode(head));
    const bytes = await new Response(connection.readable).bytes();
    const end = new TextDecoder("latin1").decode(bytes).indexOf("\r\n\r\n");
    const answered = new TextDecoder("latin1").decode(bytes.subarray(0, end)).toLowerCase();
    assertEquals(answered.includes(`content-encoding: ${encoding}`), true, answered);
    assertEquals(answered.includes("vary: accept-encoding"), true);
    assertEquals(answered.includes("content-length"), false);
    const body = new Blob([bytes.slice(end + 4)]).stream()
      .pipeThrough(new DecompressionStream(encoding as "gzip"));
    assertEquals(await new Response(body).text(), plain);
  }
});

Deno.test("HttpServer outlives the want of descriptors, and answers again", async () => {
  const script = new URL("../../tests/support/starved_http_server.ts", import.meta.url).pathname;
  const child = new Deno.Command("sh", {
    args: ["-c", 'ulimit -n 64 && exec "$0" "$@"', Deno.execPath(), "run", "-A", script],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const lines = linesOf(child.stdout);
  const next = async () => (await lines.next()).value;
  const input = child.stdin.getWriter();
  assertEquals(await next(), "listener established");
  const port = Number(await next());
  assertEquals(await next(), "full");

  await assertRejects(() => exchange(port, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
  assertEquals(await next(), "listener failed");

  await input.write(new TextEncoder().encode("\n"));
  const answer = await retried(() =>
    exchange(port, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
  );
  assertMatch(answer, /^HTTP\/1.1 200 OK\r\n.*here$/s);
  await input.close();
  assertEquals(await next(), "listener drained");
  assertEquals((await child.status).code, 0);
  assertEquals(await next(), undefined);
});

async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, undefined> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/** Again every LISTEN_AGAIN_MS while the port is refused. */
async function retried<Result>(attempt: () => Promise<Result>): Promise<Result> {
  for (let tries = 0;; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (tries === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, LISTEN_AGAIN_MS));
    }
  }
}

// `deno task demo`: real bytes through two proxy processes, and a table of what was seen.
//
// The task starts the two proxies; this program is the application on both ends: it serves on the server's
// address, calls through the client's SOCKS5 port, reads both access logs and compares with what must be.

import { type Need, requirePermissions } from "../src/permissions.ts";

const CLIENT_PROXY = "127.0.0.1";
const SERVER_PROXY = "127.0.0.2";
const SERVER = "127.0.0.2";
const SOCKS_PORT = 15080;
const READY_PORT = 15021;
const ADMIN_PORT = 15000;
const SINK_PORT = 5201;
const SOURCE_PORT = 5202;
const ECHO_PORT = 8080;
const FORBIDDEN_PORT = 9090;

const BULK_MS = 2_000;
const PING_PONGS = 2_000;
const PING_BYTES = 64;
const READY_WITHIN_MS = 15_000;
const LOG_WITHIN_MS = 5_000;

const CLIENT_ID = "spiffe://cluster.local/ns/default/sa/client";
const SERVER_ID = "spiffe://cluster.local/ns/shop/sa/server";

interface AccessLine {
  readonly message: string;
  readonly "src.identity"?: string;
  readonly "dst.identity"?: string;
  readonly "dst.hbone_addr"?: string;
  readonly direction?: string;
  readonly bytes_sent?: number;
  readonly bytes_recv?: number;
  readonly error?: string;
}

interface Row {
  readonly call: string;
  readonly identities: string;
  readonly bytes: number;
  readonly rate: string;
  readonly verdict: string;
  readonly problems: readonly string[];
}

const delay = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function untilReady(ip: string): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS;
  while (performance.now() < deadline) {
    try {
      const response = await fetch(`http://${ip}:${READY_PORT}/healthz/ready`);
      await response.body?.cancel();
      if (response.status === 200) return;
    } catch (error) {
      // Connection refused: not listening yet. Anything else must be seen.
      if (!(error instanceof TypeError)) throw error;
    }
    await delay(50);
  }
  throw new Error(`The proxy on ${ip} was not ready within ${READY_WITHIN_MS} ms`);
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done));
}

async function readExactly(connection: Deno.Conn, target: Uint8Array): Promise<boolean> {
  for (let done = 0; done < target.length;) {
    const count = await connection.read(target.subarray(done));
    if (count === null) return false;
    done += count;
  }
  return true;
}

/** Reads to the end; a reset counts as the end. */
async function readToEnd(connection: Deno.Conn): Promise<number> {
  const buffer = new Uint8Array(256 * 1024);
  let bytes = 0;
  try {
    for (;;) {
      const count = await connection.read(buffer);
      if (count === null) return bytes;
      bytes += count;
    }
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return bytes;
    throw error;
  }
}

/** SOCKS5 through the client's proxy (RFC 1928), by address. */
async function call(port: number): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname: CLIENT_PROXY, port: SOCKS_PORT });
  connection.setNoDelay(true);
  await writeAll(connection, new Uint8Array([5, 1, 0]));
  const ip = SERVER.split(".").map(Number);
  const greeting = new Uint8Array(2);
  if (!await readExactly(connection, greeting) || greeting[1] !== 0) {
    throw new Error("The SOCKS5 greeting was refused");
  }
  await writeAll(connection, new Uint8Array([5, 1, 0, 1, ...ip, port >> 8, port & 255]));
  const answer = new Uint8Array(10);
  if (!await readExactly(connection, answer) || answer[1] !== 0) {
    throw new Error("The SOCKS5 request was refused");
  }
  return connection;
}

function serve(port: number, handle: (connection: Deno.TcpConn) => Promise<void>): Deno.Listener {
  const listener = Deno.listen({ hostname: SERVER, port });
  (async () => {
    for (;;) {
      let connection: Deno.TcpConn;
      try {
        connection = await listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return; // Closed by the end of the demo.
        throw error;
      }
      handle(connection).catch((error) => {
        if (
          !(error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset)
        ) {
          throw error;
        }
      }).finally(() => connection.close());
    }
  })();
  return listener;
}

const CHUNK = new Uint8Array(128 * 1024).map((_, index) => index & 255);

function gigabits(bytes: number, ms: number): string {
  return `${(bytes * 8 / ms / 1e6).toFixed(2)} Gb/s`;
}

async function bulkForward(): Promise<{ bytes: number; rate: string }> {
  const connection = await call(SINK_PORT);
  const start = performance.now();
  let bytes = 0;
  while (performance.now() - start < BULK_MS) {
    await writeAll(connection, CHUNK);
    bytes += CHUNK.length;
  }
  await connection.closeWrite();
  const counted = new Uint8Array(8); // The sink answers with what it counted.
  if (!await readExactly(connection, counted)) throw new Error("The sink closed without a count");
  const ms = performance.now() - start;
  const seen = Number(new DataView(counted.buffer).getBigUint64(0));
  connection.close();
  if (seen !== bytes) throw new Error(`The sink counted ${seen} bytes of ${bytes}`);
  return { bytes, rate: gigabits(bytes, ms) };
}

async function bulkReverse(): Promise<{ bytes: number; rate: string }> {
  const connection = await call(SOURCE_PORT);
  const start = performance.now();
  const bytes = await readToEnd(connection);
  const rate = gigabits(bytes, performance.now() - start);
  connection.close();
  return { bytes, rate };
}

async function pingPong(): Promise<{ bytes: number; rate: string }> {
  const connection = await call(ECHO_PORT);
  const ping = CHUNK.slice(0, PING_BYTES);
  const pong = new Uint8Array(PING_BYTES);
  const samples: number[] = [];
  for (let turn = 0; turn < PING_PONGS; turn++) {
    const start = performance.now();
    await writeAll(connection, ping);
    if (!await readExactly(connection, pong)) throw new Error("The echo ended early");
    samples.push((performance.now() - start) * 1000);
    if (pong.some((byte, index) => byte !== ping[index])) throw new Error("The echo differs");
  }
  connection.close();
  samples.sort((a, b) => a - b);
  const at = (share: number) => samples[Math.floor(samples.length * share)]!.toFixed(0);
  return { bytes: PING_PONGS * PING_BYTES, rate: `p50 ${at(0.5)} µs, p99 ${at(0.99)} µs` };
}

async function forbidden(): Promise<{ bytes: number; rate: string }> {
  const connection = await call(FORBIDDEN_PORT);
  const bytes = await readToEnd(connection);
  connection.close();
  return { bytes, rate: "-" };
}

function accessLines(file: string): AccessLine[] {
  const lines: AccessLine[] = [];
  for (const line of Deno.readTextFileSync(file).split("\n")) {
    if (line.includes('"scope":"access"')) lines.push(JSON.parse(line));
  }
  return lines;
}

/** The line about the call to `port`, once it is there; null if it does not come. */
async function lineFor(file: string, port: number): Promise<AccessLine | null> {
  const authority = `${SERVER}:${port}`;
  const deadline = performance.now() + LOG_WITHIN_MS;
  for (;;) {
    const line = accessLines(file).find((each) => each["dst.hbone_addr"] === authority);
    if (line !== undefined) return line;
    if (performance.now() > deadline) return null;
    await delay(50);
  }
}

interface Expectation {
  readonly call: string;
  readonly port: number;
  readonly run: () => Promise<{ bytes: number; rate: string }>;
  /** What the server's log must say; null for an allowed call. */
  readonly refusal: string | null;
}

const CALLS: readonly Expectation[] = [
  { call: "bulk, client to server", port: SINK_PORT, run: bulkForward, refusal: null },
  { call: "bulk, server to client", port: SOURCE_PORT, run: bulkReverse, refusal: null },
  { call: `ping-pong, ${PING_BYTES} bytes`, port: ECHO_PORT, run: pingPong, refusal: null },
  {
    call: "forbidden by policy",
    port: FORBIDDEN_PORT,
    run: forbidden,
    refusal: "explicitly denied by: shop/no-client-on-9090",
  },
];

async function observe({ call: name, port, run, refusal }: Expectation): Promise<Row> {
  const seen = await run();
  const client = await lineFor(".demo/client.log", port);
  const server = await lineFor(".demo/server.log", port);
  const problems: string[] = [];
  const expect = (what: string, actual: unknown, wanted: unknown) => {
    if (actual !== wanted) problems.push(`${what} is ${actual}, should be ${wanted}`);
  };
  for (const [side, line] of [["client's proxy", client], ["server's proxy", server]] as const) {
    if (line === null) {
      problems.push(`no access log line at the ${side}`);
      continue;
    }
    expect(`${side}: source identity`, line["src.identity"], CLIENT_ID);
    expect(`${side}: destination identity`, line["dst.identity"], SERVER_ID);
    expect(`${side}: message`, line.message, "connection complete");
  }
  if (refusal === null) {
    expect("error at the client's proxy", client?.error, undefined);
    expect("error at the server's proxy", server?.error, undefined);
    if (seen.bytes === 0) problems.push("no bytes arrived");
    const logged = Math.max(client?.bytes_sent ?? 0, client?.bytes_recv ?? 0);
    if (logged < seen.bytes) problems.push(`the log counts ${logged} bytes of ${seen.bytes}`);
  } else {
    expect("bytes received", seen.bytes, 0);
    expect("error at the client's proxy", client?.error, "http status: 401 Unauthorized");
    if (!server?.error?.endsWith(refusal)) {
      problems.push(`error at the server's proxy is ${server?.error}, should end ${refusal}`);
    }
  }
  const short = (identity?: string) => identity?.split("/").slice(4).join("/") ?? "?";
  return {
    call: name,
    identities: `${short(server?.["src.identity"])} -> ${short(server?.["dst.identity"])}`,
    bytes: seen.bytes,
    rate: seen.rate,
    verdict: server?.error === undefined ? "allowed" : "denied",
    problems,
  };
}

function printTable(rows: readonly Row[]): void {
  const cells = [
    ["call", "identities (ns/sa)", "bytes", "rate", "verdict", "as it should be"],
    ...rows.map((row) => [
      row.call,
      row.identities,
      String(row.bytes),
      row.rate,
      row.verdict,
      row.problems.length === 0 ? "yes" : "NO",
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  for (const row of cells) {
    print(row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd());
  }
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

async function stopProxy(ip: string): Promise<void> {
  try {
    const response = await fetch(`http://${ip}:${ADMIN_PORT}/quitquitquit`, { method: "POST" });
    await response.body?.cancel();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // TypeError: it has already gone.
  }
}

/** What `main` uses of the sandbox, in the words of the task's permission set. */
const NEEDS: readonly Need[] = [
  ...[CLIENT_PROXY, SERVER_PROXY].flatMap((ip): Need[] => [
    { kind: "net", what: `${ip}:${READY_PORT}`, why: "see that the proxy is ready" },
    { kind: "net", what: `${ip}:${ADMIN_PORT}`, why: "tell the proxy to end" },
  ]),
  { kind: "net", what: `${CLIENT_PROXY}:${SOCKS_PORT}`, why: "call through the client's proxy" },
  ...[SINK_PORT, SOURCE_PORT, ECHO_PORT, FORBIDDEN_PORT].map((port): Need => (
    { kind: "net", what: `${SERVER}:${port}`, why: "serve what is called" }
  )),
  ...["client", "server"].map((name): Need => (
    { kind: "read", what: `.demo/${name}.log`, why: "read the proxy's access log" }
  )),
];

function serveApplications(): Deno.Listener[] {
  return [
    serve(SINK_PORT, async (connection) => {
      const answer = new Uint8Array(8);
      new DataView(answer.buffer).setBigUint64(0, BigInt(await readToEnd(connection)));
      await writeAll(connection, answer);
    }),
    serve(SOURCE_PORT, async (connection) => {
      const start = performance.now();
      while (performance.now() - start < BULK_MS) await writeAll(connection, CHUNK);
    }),
    serve(ECHO_PORT, async (connection) => {
      const buffer = new Uint8Array(64 * 1024);
      for (;;) {
        const count = await connection.read(buffer);
        if (count === null) return;
        await writeAll(connection, buffer.subarray(0, count));
      }
    }),
    // Nothing may ever arrive here: it would be echoed and counted.
    serve(FORBIDDEN_PORT, (connection) => writeAll(connection, CHUNK)),
  ];
}

async function main(): Promise<number> {
  try {
    requirePermissions(NEEDS);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    Deno.stderr.writeSync(new TextEncoder().encode(`Error: ${text}\n`));
    return 1;
  }
  let listeners: Deno.Listener[] = [];
  try {
    try {
      listeners = serveApplications();
    } finally {
      // Also if there is nothing to call: only a proxy that is ready can be told to end.
      await Promise.all([untilReady(CLIENT_PROXY), untilReady(SERVER_PROXY)]);
    }
    print(`proxy of ${CLIENT_ID} on ${CLIENT_PROXY}`);
    print(`proxy of ${SERVER_ID} on ${SERVER_PROXY}\n`);
    const rows: Row[] = [];
    for (const expectation of CALLS) rows.push(await observe(expectation));
    printTable(rows);
    const problems = rows.flatMap((row) => row.problems.map((text) => `${row.call}: ${text}`));
    for (const problem of problems) print(`\nNOT AS IT SHOULD BE: ${problem}`);
    return problems.length === 0 ? 0 : 1;
  } catch (error) {
    print(`The demo failed: ${error instanceof Error ? error.message : error}`);
    print("What the proxies said is in .demo/client.log and .demo/server.log");
    return 1;
  } finally {
    for (const listener of listeners) listener.close();
    await Promise.all([stopProxy(CLIENT_PROXY), stopProxy(SERVER_PROXY)]);
  }
}

Deno.exit(await main());

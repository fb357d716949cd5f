// openLogging(): LogTape really in between, and nothing lost however the process ends.
import { configureSync, getConfig, getLogger, resetSync } from "@logtape/logtape";
import { assertEquals, assertThrows } from "@std/assert";
import { formatTime } from "./log_format.ts";
import { LogFilterError } from "./log_filter.ts";
import { type Logging, openLogging } from "./logging.ts";

class FakeTarget {
  text = "";

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(this.writeSync(bytes));
  }

  writeSync(bytes: Uint8Array): number {
    this.text += new TextDecoder().decode(bytes);
    return bytes.length;
  }

  /** The lines without their times. */
  get lines(): string[] {
    const stamp = formatTime(0).length;
    return this.text.split("\n").slice(0, -1).map((line) => line.slice(stamp + 1));
  }
}

function setUp(
  options: { readonly rustLog?: string; readonly logFormat?: string } = {},
): { readonly logging: Logging; readonly target: FakeTarget } {
  const target = new FakeTarget();
  const { rustLog, logFormat } = options;
  return { logging: openLogging({ rustLog, logFormat, target }), target };
}

Deno.test("openLogging() writes through LogTape, and lets go of it at the end", async () => {
  const { logging, target } = setUp();
  assertEquals(getConfig() !== null, true);
  logging.logger.log("info", "ztunnel::app", "hello", { k: "{v}" });
  logging.logger.log("debug", "ztunnel::app", "dropped");
  await logging[Symbol.asyncDispose]();
  assertEquals(target.lines, ['info\tapp\thello\tk="{v}"']);
  assertEquals(getConfig(), null);
});

Deno.test("openLogging() takes LOG_FORMAT and stamps the present time", async () => {
  const { logging, target } = setUp({ logFormat: "json" });
  const beforeMs = Date.now();
  logging.logger.log("warn", "access", "hello", { n: 1 });
  await logging[Symbol.asyncDispose]();
  const line = JSON.parse(target.text);
  assertEquals(Object.keys(line), ["level", "time", "scope", "message", "n"]);
  const stampMs = Date.parse(line.time);
  assertEquals(stampMs >= beforeMs && stampMs <= Date.now(), true, line.time);
});

Deno.test("openLogging() keeps several in one process apart", async () => {
  const one = setUp();
  const other = setUp({ rustLog: "error" });
  one.logging.logger.log("info", "a", "first", {});
  other.logging.logger.log("error", "b", "second", {});
  await one.logging[Symbol.asyncDispose]();
  other.logging.logger.log("error", "b", "third", {});
  await other.logging[Symbol.asyncDispose]();
  assertEquals(one.target.lines, ["info\ta\tfirst\t"]);
  assertEquals(other.target.lines, ["error\tb\tsecond\t", "error\tb\tthird\t"]);
  assertEquals(getConfig(), null);
});

Deno.test("openLogging() writes what libraries report from level warning on", async () => {
  const { logging, target } = setUp();
  const library = getLogger(["library", "part"]);
  library.info("dropped");
  library.warn("careful with {what}", { what: "this" });
  library.fatal("broken");
  await logging[Symbol.asyncDispose]();
  assertEquals(target.lines, [
    "warn\tlibrary::part\tcareful with this\t",
    "error\tlibrary::part\tbroken\t",
  ]);
});

Deno.test("openLogging() leaves an embedding application's LogTape alone", async () => {
  const config = {
    sinks: { none: () => {} },
    loggers: [
      { category: ["logtape", "meta"], sinks: ["none" as const], lowestLevel: "error" as const },
    ],
  };
  configureSync(config);
  try {
    const { logging, target } = setUp();
    logging.logger.log("info", "ztunnel::app", "hello");
    await logging[Symbol.asyncDispose]();
    assertEquals(target.lines, ["info\tapp\thello\t"]);
    assertEquals(getConfig() === config, true);
  } finally {
    resetSync();
  }
});

Deno.test("openLogging() refuses a wrong RUST_LOG before it changes anything", () => {
  assertThrows(() => setUp({ rustLog: "access=nope" }), LogFilterError);
  assertEquals(getConfig(), null);
});

Deno.test("Logging.flushSync() writes what is held before it returns", async () => {
  const { logging, target } = setUp();
  logging.logger.log("info", "ztunnel::app", "hello");
  assertEquals(target.lines, []);
  logging.flushSync();
  assertEquals(target.lines, ["info\tapp\thello\t"]);
  await logging[Symbol.asyncDispose]();
});

/** Runs a program that has a logger, in a process without any permission. */
async function runProgram(
  body: string,
  { closeStdout = false }: { readonly closeStdout?: boolean } = {},
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const program = `import { openLogging } from "${import.meta.resolve("./logging.ts")}";
    const logging = openLogging({ rustLog: undefined, logFormat: undefined });
    const hello = (count) => {
      for (let n = 1; n <= count; n++) logging.logger.log("info", "ztunnel::app", "line", { n });
    };
    ${body}`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-check", "--ext=js", "-"],
    cwd: new URL("../../", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  // Cancelled before the program begins, so that its first write meets a closed pipe.
  const stdout = closeStdout ? child.stdout.cancel().then(() => "") : readText(child.stdout);
  const stderr = readText(child.stderr);
  const stdin = child.stdin.getWriter();
  await stdin.write(new TextEncoder().encode(program));
  await stdin.close();
  const [text, errors, { code }] = await Promise.all([stdout, stderr, child.status]);
  return { code, stdout: text, stderr: errors };
}

function readText(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  return new Response(stream).text();
}

Deno.test.each([
  { name: "runs out of work", body: "hello(3);", code: 0, lines: 3 },
  { name: "disposes", body: "hello(3); await logging[Symbol.asyncDispose]();", code: 0, lines: 3 },
  { name: "calls Deno.exit", body: "hello(3); Deno.exit(3);", code: 3, lines: 3 },
  {
    name: "has a batch in flight",
    body: "hello(3); setTimeout(() => { hello(2); Deno.exit(3); }, 11);",
    code: 3,
    lines: 5,
  },
  { name: "throws", body: 'hello(3); throw new Error("boom");', code: 1, lines: 3 },
  {
    name: "throws in a callback",
    body: 'setTimeout(() => { hello(3); throw new Error("boom"); });',
    code: 1,
    lines: 3,
  },
  {
    name: "rejects",
    body: 'hello(3); Promise.reject(new Error("boom")); setTimeout(() => {}, 60_000);',
    code: 1,
    lines: 3,
  },
  {
    name: "writes more than a pipe holds",
    body: "hello(30_000); Deno.exit(0);",
    code: 0,
    lines: 30_000,
  },
])("openLogging() loses no line when the process $name", async ({ body, code, lines }) => {
  const result = await runProgram(body);
  const written = result.stdout.split("\n").slice(0, -1);
  assertEquals([result.code, written.length], [code, lines], result.stderr);
  assertEquals(written.at(-1)!.split("\t").slice(1, 4), ["info", "app", "line"]);
  const numbers = written.slice(0, 3).map((line) => line.split("\t")[4]);
  assertEquals(numbers, ["n=1", "n=2", "n=3"]);
});

Deno.test("openLogging() survives a closed stdout", async () => {
  const result = await runProgram(
    `hello(1);
    setTimeout(() => {
      hello(20_000); // Beyond the bound: written synchronously.
      logging[Symbol.asyncDispose]().then(() => Deno.exit(logging.linesLost > 20_000 ? 7 : 8));
    }, 100);`,
    { closeStdout: true },
  );
  assertEquals(result.code, 7, result.stderr);
  assertEquals(result.stderr, "");
});

// LineWriter: order, batches, the bound, and targets that are slow, short or gone.
import { assertEquals } from "@std/assert";
import { VirtualClock } from "../base/virtual_clock.ts";
import { BATCH_MS, CLOSE_WAIT_MS, LINES_BUFFERED_MAX, LineWriter } from "./line_writer.ts";

/** Keeps what it was given; by default takes all of it at once. */
class FakeTarget {
  text = "";
  writes = 0;
  syncWrites = 0;
  /** Bytes taken per call. */
  takesMax = Infinity;
  failing = false;
  onWrite: () => void = () => {};
  /** While set, `write` does not settle before `release`. */
  stalled = false;
  release: () => void = () => {};

  async write(bytes: Uint8Array): Promise<number> {
    this.writes++;
    const taken = this.#take(bytes);
    this.onWrite();
    if (this.stalled) await new Promise<void>((resolve) => this.release = resolve);
    return taken;
  }

  writeSync(bytes: Uint8Array): number {
    this.syncWrites++;
    return this.#take(bytes);
  }

  #take(bytes: Uint8Array): number {
    if (this.failing) throw new Deno.errors.BrokenPipe("Broken pipe (os error 32)");
    const taken = Math.min(bytes.length, this.takesMax);
    this.text += new TextDecoder().decode(bytes.subarray(0, taken));
    return taken;
  }
}

function writeNumbers(writer: LineWriter, from: number, below: number): void {
  for (let number = from; number < below; number++) writer.write(`${number}\n`);
}

/** Lets every callback that is due now run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

function numbers(below: number): string {
  return Array.from({ length: below }, (_, number) => `${number}\n`).join("");
}

Deno.test("LineWriter writes the lines of one turn in one call", async () => {
  const target = new FakeTarget();
  const writer = new LineWriter(target);
  writeNumbers(writer, 0, 100);
  assertEquals(target.writes, 0);
  await writer.close();
  assertEquals([target.text, target.writes, writer.linesBuffered], [numbers(100), 1, 0]);
});

Deno.test("LineWriter writes by itself after BATCH_MS, and again", async () => {
  const target = new FakeTarget();
  const clock = new VirtualClock();
  const writer = new LineWriter(target, clock);
  for (const text of ["0\n", "0\n1\n"]) {
    writer.write(`${writer.linesLost + target.writes}\n`);
    clock.advance(BATCH_MS - 1);
    const before = target.writes;
    clock.advance(1);
    assertEquals([target.writes - before, target.text], [1, text]);
    await settled();
  }
  assertEquals([writer.linesBuffered, clock.pendingTimers], [0, 0]);
});

Deno.test("LineWriter uses the runtime's timers unless told otherwise", async () => {
  const target = new FakeTarget();
  const writer = new LineWriter(target);
  const written = new Promise<void>((resolve) => target.onWrite = resolve);
  writer.write("one\n");
  await written;
  assertEquals(target.text, "one\n");
});

Deno.test("LineWriter goes on where a target took only a part", async () => {
  const target = new FakeTarget();
  target.takesMax = 7;
  const writer = new LineWriter(target);
  writeNumbers(writer, 0, 20);
  await writer.close();
  writeNumbers(writer, 20, 40);
  writer.flushSync();
  assertEquals([target.text, writer.linesLost], [numbers(40), 0]);
});

Deno.test("LineWriter keeps lines written while a batch is in flight, in order", async () => {
  const target = new FakeTarget();
  target.stalled = true;
  const writer = new LineWriter(target);
  writeNumbers(writer, 0, 10);
  const closed = writer.close();
  await Promise.resolve();
  writeNumbers(writer, 10, 20);
  target.stalled = false;
  target.release();
  await closed;
  assertEquals(target.text, numbers(20));
});

Deno.test.each([
  { name: "just under", lines: LINES_BUFFERED_MAX - 1, syncWrites: 0 },
  { name: "at", lines: LINES_BUFFERED_MAX, syncWrites: 0 },
  { name: "over", lines: LINES_BUFFERED_MAX + 1, syncWrites: 1 },
])("LineWriter blocks the writer at LINES_BUFFERED_MAX: $name", async ({ lines, syncWrites }) => {
  const target = new FakeTarget();
  const writer = new LineWriter(target);
  writeNumbers(writer, 0, lines);
  assertEquals(target.syncWrites, syncWrites);
  assertEquals(writer.linesBuffered <= LINES_BUFFERED_MAX, true);
  await writer.close();
  assertEquals([target.text, writer.linesLost], [numbers(lines), 0]);
});

Deno.test("LineWriter.flushSync() has written all when it returns", () => {
  const target = new FakeTarget();
  const writer = new LineWriter(target);
  writeNumbers(writer, 0, 3);
  writer.flushSync();
  assertEquals([target.text, target.syncWrites], [numbers(3), 1]);
});

Deno.test("LineWriter survives a closed stdout, counts what was lost and tries again", async () => {
  const target = new FakeTarget();
  target.failing = true;
  const writer = new LineWriter(target);
  writeNumbers(writer, 0, 3);
  await writer.close();
  writer.write("four\n");
  writer.flushSync();
  assertEquals([writer.linesLost, writer.linesBuffered], [4, 0]);
  target.failing = false;
  writer.write("five\n");
  await writer.close();
  assertEquals([target.text, writer.linesLost], ["five\n", 4]);
});

Deno.test("LineWriter counts a target that takes nothing as refusing", async () => {
  const target = new FakeTarget();
  target.takesMax = 0;
  const writer = new LineWriter(target);
  writer.write("one\n");
  await writer.close();
  assertEquals([writer.linesLost, writer.linesBuffered], [1, 0]);
});

Deno.test("LineWriter.close() gives up after CLOSE_WAIT_MS on a reader that takes nothing", async () => {
  const target = new FakeTarget();
  target.stalled = true;
  const clock = new VirtualClock();
  const writer = new LineWriter(target, clock);
  writer.write("taken but never finished\n");
  let closed = false;
  const closing = writer.close().then(() => closed = true);
  writer.write("second\n");
  clock.advance(CLOSE_WAIT_MS - 1);
  await settled();
  assertEquals(closed, false);
  clock.advance(1);
  await closing;
  assertEquals([writer.linesLost, clock.pendingTimers], [1, 0]);
  writer.write("third\n");
  writer.flushSync(); // As when the process ends; the reader would keep it for ever.
  assertEquals([writer.linesLost, target.syncWrites], [2, 0]);
  target.release();
  await settled();
});

Deno.test("LineWriter.flushSync() waits for a batch in flight, even with nothing to add", async () => {
  const target = new FakeTarget();
  target.stalled = true;
  const writer = new LineWriter(target);
  writer.write("one\n");
  const closing = writer.close();
  writer.flushSync();
  assertEquals([target.text, target.syncWrites], ["one\n", 1]);
  target.release();
  await closing;
});

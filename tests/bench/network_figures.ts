// Quick figures of the deno network by itself, both ends in one process:
// deno run -A tests/bench/network_figures.ts
import { adoptBlock, type Block } from "../../src/base/block.ts";
import type { Channel } from "../../src/base/channel.ts";
import { RealNetwork, twoCertificates, until } from "../support/real_sockets.ts";

const BULK_BYTES = 1024 * 1024 * 1024;
const FRAME_HEADER = adoptBlock(new Uint8Array(9));

/** Sends `total` octets as HTTP/2 would: a small block, then a large one by reference, while more is welcome. */
class Sender {
  readonly #channel: Channel;
  readonly #payload: Block;
  #left: number;

  constructor(channel: Channel, payloadBytes: number, total: number) {
    this.#channel = channel;
    this.#payload = adoptBlock(new Uint8Array(payloadBytes));
    this.#left = total;
    channel.attach({ onData() {}, onEnd() {}, onWritable: () => this.send(), onClose() {} });
  }

  send(): void {
    while (this.#left > 0) {
      const size = this.#payload.bytes.length;
      this.#left -= size;
      this.#channel.write(FRAME_HEADER, 0, 9);
      if (!this.#channel.write(this.#payload, 0, size)) return;
    }
  }
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function bulk(client: Channel, server: Channel, payloadBytes: number): Promise<string> {
  let received = 0;
  let calls = 0;
  server.attach({
    onData(_block, start, end) {
      received += end - start;
      calls++;
    },
    onEnd() {},
    onWritable() {},
    onClose() {},
  });
  const frames = Math.ceil(BULK_BYTES / payloadBytes);
  const wanted = frames * (payloadBytes + 9);
  const beginMs = performance.now();
  const beginCpuMs = cpuMs();
  new Sender(client, payloadBytes, BULK_BYTES).send();
  await until(() => received === wanted, 120_000);
  const seconds = (performance.now() - beginMs) / 1000;
  const cpu = (cpuMs() - beginCpuMs) / 1000 / (wanted / 1e9);
  client.reset(null);
  server.reset(null);
  return `${(wanted * 8 / seconds / 1e9).toFixed(2)} Gb/s, ${cpu.toFixed(2)} CPU s/GB both ends, ` +
    `${(wanted / calls / 1024).toFixed(0)} KiB per read`;
}

async function pingPong(client: Channel, server: Channel): Promise<string> {
  const rounds = 20_000;
  const block = adoptBlock(new Uint8Array(1024));
  const times = new Float64Array(rounds);
  let received = 0;
  server.attach({
    onData: (data, start, end) => void server.write(data, start, end),
    onEnd() {},
    onWritable() {},
    onClose() {},
  });
  let round = 0;
  let sentMs = 0;
  await new Promise<void>((resolve) => {
    const next = () => {
      if (round === rounds) return resolve();
      sentMs = performance.now();
      client.write(block, 0, 1024);
    };
    client.attach({
      onData(_data, start, end) {
        received += end - start;
        if (received < 1024) return;
        received = 0;
        times[round++] = performance.now() - sentMs;
        next();
      },
      onEnd() {},
      onWritable() {},
      onClose() {},
    });
    next();
  });
  times.sort();
  client.reset(null);
  server.reset(null);
  const at = (share: number) => (times[Math.floor(rounds * share)]! * 1000).toFixed(0);
  return `1 KiB ping-pong p50 ${at(0.5)} µs, p99 ${at(0.99)} µs, max ${at(0.99999)} µs`;
}

const certificates = await twoCertificates();
await using real = new RealNetwork();
const pairOf = async (kind: string): Promise<[Channel, Channel]> => {
  const { client, server } = kind === "TCP"
    ? await real.plainPair()
    : await real.securePair(certificates);
  return [client, server];
};

for (const kind of ["TCP", "TLS"]) {
  for (const payloadBytes of [16 * 1024, 64 * 1024]) {
    const figures = await bulk(...await pairOf(kind), payloadBytes);
    report(`${kind} frames of ${payloadBytes / 1024} KiB: ${figures}`);
  }
  report(`${kind} ${await pingPong(...await pairOf(kind))}`);
  const connections = 2000;
  const beginMs = performance.now();
  const beginCpuMs = cpuMs();
  for (let done = 0; done < connections; done += 20) {
    await Promise.all(Array.from({ length: 20 }, async () => {
      for (const channel of await pairOf(kind)) channel.reset(null);
    }));
  }
  const rate = connections / (performance.now() - beginMs) * 1000;
  const cpu = (cpuMs() - beginCpuMs) / connections * 1000;
  report(`${kind} ${rate.toFixed(0)} connections/s, ${cpu.toFixed(0)} µs CPU each, both ends`);
}

function report(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

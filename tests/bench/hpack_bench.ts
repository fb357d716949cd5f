// HPACK of a CONNECT, as on each user connection: `deno bench -A tests/bench/hpack_bench.ts`.
import { HpackDecoder } from "../../src/h2/hpack/decoder.ts";
import { HpackEncoder, maxEncodedBytes } from "../../src/h2/hpack/encoder.ts";
import { huffmanBytes, readHuffman, writeHuffman } from "../../src/h2/hpack/huffman.ts";

let kept: unknown;
/** A result nobody uses lets V8 drop the call being measured. */
function keep(value: unknown): void {
  kept = value;
}

function connect(traceparent: string) {
  return [
    { name: ":method", value: "CONNECT" },
    { name: ":authority", value: "10.244.17.203:8080" },
    { name: "baggage", value: "k8s.cluster.name=Kubernetes,k8s.namespace.name=default" },
    { name: "forwarded", value: "for=10.244.3.17:40132;proto=tcp" },
    { name: "traceparent", value: traceparent },
  ];
}

const HEADERS = connect("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
const TARGET = new Uint8Array(maxEncodedBytes(HEADERS));

const encoder = new HpackEncoder();
const primer = encoder.encode(HEADERS, TARGET, 0);
const decoder = new HpackDecoder({ tableBytesMax: 4096 });
const sink = { onHeader: (_name: string, value: string) => keep(value) };
decoder.decode(TARGET, 0, primer, sink);
const REPEATED = TARGET.slice(0, encoder.encode(HEADERS, TARGET, 0));

Deno.bench("HpackEncoder, CONNECT, tables filled", () => keep(encoder.encode(HEADERS, TARGET, 0)));
Deno.bench(
  "HpackDecoder, CONNECT, tables filled",
  () => decoder.decode(REPEATED, 0, REPEATED.length, sink),
);

const TEXT = HEADERS[4]!.value;
const CODE = new Uint8Array(huffmanBytes(TEXT));
writeHuffman(CODE, 0, TEXT);
const DECODED = new Uint8Array(128);

Deno.bench("huffmanBytes(), 55 octets", () => keep(huffmanBytes(TEXT)));
Deno.bench("writeHuffman(), 55 octets", () => keep(writeHuffman(CODE, 0, TEXT)));
Deno.bench("readHuffman(), 55 octets", () => keep(readHuffman(CODE, 0, CODE.length, DECODED)));

globalThis.addEventListener("unload", () => {
  if (kept === undefined) throw new Error("Nothing was measured");
});

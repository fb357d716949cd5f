// Starts handshake_process.ts with ffi alone and gives its report.
import { MeshCa } from "../support/mesh_ca.ts";
import type { HandshakeDone, HandshakeReport, HandshakeTask } from "./handshake_process.ts";

const PROGRAM = new URL("handshake_process.ts", import.meta.url).pathname;
const IDENTITY = "spiffe://cluster.local/ns/default/sa/crypto";

export type TaskOptions = Partial<Omit<HandshakeTask, "certificate">>;

/** A handshake between two sides of one identity, with what {@link options} change of the default settings. */
export async function report(options: TaskOptions = {}): Promise<HandshakeReport> {
  const leaf = await (await MeshCa.create()).issue({ uris: [IDENTITY] });
  const task: HandshakeTask = {
    openSslLibDir: Deno.env.get("OPENSSL_LIB_DIR") || null,
    tls12: false,
    pqc: false,
    fips: null,
    certificate: { identity: IDENTITY, ...leaf },
    ...options,
  };
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--allow-ffi", PROGRAM],
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(task)));
  await writer.close();
  const { code, signal, stdout, stderr } = await child.output();
  if (code === 0) return JSON.parse(new TextDecoder().decode(stdout));
  throw new Error(`Ended with ${signal ?? code}: ${new TextDecoder().decode(stderr)}`);
}

/** The report of a start that is not refused. */
export async function handshake(options: TaskOptions = {}): Promise<HandshakeDone> {
  const got = await report(options);
  if (got.refused !== null) throw new Error(`Refused to start: ${got.refused}`);
  return got;
}

/** The sentence of a start that is refused. */
export async function refusal(options: TaskOptions): Promise<string> {
  const got = await report(options);
  if (got.refused !== null) return got.refused;
  throw new Error(`Did start: ${JSON.stringify(got)}`);
}

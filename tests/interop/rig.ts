// What the interop tests share: a mesh CA, one proxy of ours as a process, a peer that is not ours.
import { loopbackBlock } from "../support/loopback.ts";
import { MeshCa, type TestLeafFiles } from "../support/mesh_ca.ts";
import { meshFileText, type TestWorkload } from "../support/mesh_file.ts";
import { TEST_NETWORK } from "../support/networks.ts";
import { ProxyProcess } from "../support/proxy_process.ts";

export const NAMESPACE = "interop";

export function identityOf(serviceAccount: string): string {
  return `spiffe://cluster.local/ns/${NAMESPACE}/sa/${serviceAccount}`;
}

/** A CA, a mesh of the workloads named, and loopback addresses for them. */
export class InteropRig implements AsyncDisposable {
  readonly folder: string;
  readonly #opened: AsyncDisposableStack;
  readonly #ca: MeshCa;
  readonly #workloads: ReadonlyMap<string, TestWorkload>;

  private constructor(
    folder: string,
    opened: AsyncDisposableStack,
    ca: MeshCa,
    workloads: ReadonlyMap<string, TestWorkload>,
  ) {
    this.folder = folder;
    this.#opened = opened;
    this.#ca = ca;
    this.#workloads = workloads;
  }

  /** One HBONE workload for each name, which is its service account too. */
  static async create(names: readonly string[]): Promise<InteropRig> {
    const folder = await Deno.makeTempDir({ prefix: "interop-" });
    await using opened = new AsyncDisposableStack();
    opened.defer(() => Deno.remove(folder, { recursive: true }));
    const block = loopbackBlock();
    const workloads = names.map((name, index) => ({
      name,
      namespace: NAMESPACE,
      serviceAccount: name,
      ip: `${block}.${index + 1}`,
    }));
    await Deno.writeTextFile(`${folder}/mesh.yaml`, meshFileText({ workloads }));
    const ca = await MeshCa.create();
    await ca.writeRoot(folder);
    const byName = new Map(workloads.map((workload) => [workload.name, workload]));
    return new InteropRig(folder, opened.move(), ca, byName);
  }

  ip(name: string): string {
    return this.#workloads.get(name)!.ip;
  }

  leaf(serviceAccount: string): Promise<TestLeafFiles> {
    return this.#ca.writeLeaf(this.folder, { namespace: NAMESPACE, serviceAccount });
  }

  async startProxy(name: string): Promise<ProxyProcess> {
    const workload = this.#workloads.get(name)!;
    const meshFile = `${this.folder}/mesh.yaml`;
    return this.#opened.use(
      await ProxyProcess.start({
        workload,
        meshFile,
        caFolder: this.folder,
        env: { IO_PROVIDER: TEST_NETWORK },
      }),
    );
  }

  /** Ends with the rig, before what was opened earlier. */
  use<Opened extends AsyncDisposable>(opened: Opened): Opened {
    return this.#opened.use(opened);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }
}

/** A program that is not ours. Its stdout is lines of JSON. */
export class Peer implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #stderr: Promise<string>;

  constructor(program: string, args: readonly string[]) {
    this.#child = new Deno.Command(program, {
      args: [...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#lines = linesOf(this.#child.stdout);
    this.#stderr = new Response(this.#child.stderr).text();
  }

  /** The next line it prints. @throws if it ended instead, with what it said. */
  async next(): Promise<unknown> {
    const line = await this.#lines.next();
    if (line.done) throw new Error(`The peer ended: ${(await this.#stderr).slice(-2000)}`);
    return JSON.parse(line.value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGTERM");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: it has ended already.
    }
    while (!(await this.#lines.next()).done);
    await Promise.all([this.#child.status, this.#stderr]);
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

/** Finds a program that answers `probe`; @throws naming what to install. */
export async function findPeer(
  candidates: readonly string[],
  probe: readonly string[],
  packageName: string,
): Promise<string> {
  for (const candidate of candidates) {
    try {
      const { success } = await new Deno.Command(candidate, {
        args: [...probe],
        stdout: "null",
        stderr: "null",
      }).output();
      if (success) return candidate;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new Error(`Cannot find ${candidates.join(" or ")} that runs: install ${packageName}`);
}

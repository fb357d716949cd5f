// What the scanners look at: 15008 of a proxy process on the native network.
import { loopbackBlock } from "../support/loopback.ts";
import { MeshCa, type TestLeafFiles } from "../support/mesh_ca.ts";
import { meshFileText } from "../support/mesh_file.ts";
import { ProxyProcess } from "../support/proxy_process.ts";

/** The subject of the mesh's root, as scanners print it. */
export const ROOT_NAME = "scanned mesh root";
const NAMESPACE = "crypto";

/** A proxy whose inbound port scanners look at. */
export class ScanTarget implements AsyncDisposable {
  /** `ip:15008`. */
  readonly address: string;
  readonly proxy: ProxyProcess;
  readonly #ca: MeshCa;
  readonly #folder: string;
  readonly #opened: AsyncDisposableStack;

  private constructor(
    proxy: ProxyProcess,
    parts: { readonly ca: MeshCa; readonly folder: string; readonly opened: AsyncDisposableStack },
  ) {
    this.proxy = proxy;
    this.address = `${proxy.ip}:15008`;
    this.#ca = parts.ca;
    this.#folder = parts.folder;
    this.#opened = parts.opened;
  }

  /** @param env Added to the proxy's environment. */
  static async start(env: Readonly<Record<string, string>> = {}): Promise<ScanTarget> {
    await using opened = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir({ prefix: "scan-" });
    opened.defer(() => Deno.remove(folder, { recursive: true }));
    const workload = {
      name: "scanned",
      namespace: NAMESPACE,
      serviceAccount: "scanned",
      ip: `${loopbackBlock()}.1`,
    };
    const meshFile = `${folder}/mesh.yaml`;
    await Deno.writeTextFile(meshFile, meshFileText({ workloads: [workload] }));
    const ca = await MeshCa.create(ROOT_NAME);
    await ca.writeRoot(folder);
    const libraries = Deno.env.get("OPENSSL_LIB_DIR");
    const proxy = opened.use(
      await ProxyProcess.start({
        workload,
        meshFile,
        caFolder: folder,
        env: {
          IO_PROVIDER: "native",
          ...libraries === undefined ? {} : { OPENSSL_LIB_DIR: libraries },
          ...env,
        },
        runtimeFlags: ["--unstable-worker-options"],
      }),
    );
    return new ScanTarget(proxy, { ca, folder, opened: opened.move() });
  }

  /** Files of a client that the proxy lets in. */
  client(): Promise<TestLeafFiles> {
    return this.#ca.writeLeaf(this.#folder, { namespace: NAMESPACE, serviceAccount: "client" });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#opened.disposeAsync();
  }
}

// One look at the mesh file after the other: whether it changed, whether it stands still, whether it is good.
import { createHash } from "node:crypto";
import type { Clock } from "./base/clock.ts";
import { ProxyError } from "./base/errors.ts";
import { StillFile } from "./file_reading.ts";
import type { LogLevel, LogValue } from "./seam/events.ts";
import { MESH_FILE_BYTES_MAX, type MeshFile } from "./state/mesh_file.ts";

const SCOPE = "ztunnel::mesh_file";

export interface MeshFileFollowerOptions {
  readonly path: string;
  readonly clock: Pick<Clock, "wallMs">;
  readonly log: (
    level: LogLevel,
    scope: string,
    message: string,
    fields?: Readonly<Record<string, LogValue>>,
  ) => void;
  /** Throws where the text is no mesh. */
  readonly parse: (text: string) => MeshFile;
  /** Takes a mesh that differs from the one before. */
  readonly onMesh: (mesh: MeshFile) => void;
  /** `MeshFile.digest` of what is in use already; absent: whatever is found first is taken. */
  readonly loadedDigest?: string;
}

/**
 * What a look found. `settling`: it changed, and the next look tells whether all of it is written; `same`: as good as
 * what is in use; `refused`: wrong, and what is in use stays.
 */
export type Look = "unchanged" | "settling" | "loaded" | "same" | "refused" | "gone";

/** Keeps what is in use as new as the file. Never throws. */
export class MeshFileFollower {
  readonly #options: MeshFileFollowerOptions;
  readonly #file: StillFile;
  #inUse: string | null;
  /** What was last complained about: a digest or an error's text. */
  #complaint: string | null = null;

  constructor(options: MeshFileFollowerOptions) {
    this.#options = options;
    this.#file = new StillFile(options.path, options.clock, MESH_FILE_BYTES_MAX);
    this.#inUse = options.loadedDigest ?? null;
  }

  async look(): Promise<Look> {
    try {
      return await this.#look();
    } catch (error) {
      return this.#failed(error);
    }
  }

  async #look(): Promise<Look> {
    const { path } = this.#options;
    const found = await this.#file.look({ filesOnly: true });
    if (typeof found === "string") return found;
    if (found.kind === "read") return this.#take(found.bytes);
    const what = found.kind === "noFile"
      ? "it is no file"
      : `larger than ${MESH_FILE_BYTES_MAX} bytes`;
    return this.#refuse(found.mark, `Cannot read mesh file ${path}: ${what}`);
  }

  #take(bytes: Uint8Array): Look {
    const { path, parse, onMesh, log } = this.#options;
    const digest = createHash("sha256").update(bytes).digest("hex");
    if (digest === this.#inUse) {
      if (this.#complaint !== null) {
        log("info", SCOPE, "mesh file is again what is in use", { path });
      }
      this.#complaint = null;
      return "same";
    }
    if (digest === this.#complaint) return "refused";
    let mesh: MeshFile;
    try {
      mesh = parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch (error) {
      const text = error instanceof TypeError
        ? `Cannot read mesh file ${path}: it is no UTF-8 text`
        : textOf(error);
      return this.#refuse(digest, text);
    }
    this.#complaint = null;
    this.#inUse = digest;
    for (const warning of mesh.warnings) log("warn", SCOPE, warning);
    log("info", SCOPE, "mesh file reloaded", {
      path,
      workloads: mesh.workloads.length,
      services: mesh.services.length,
      policies: mesh.policies.length,
    });
    onMesh(mesh);
    return "loaded";
  }

  /** Once for each thing that is wrong. */
  #refuse(what: string, error: string): "refused" {
    if (this.#complaint !== what) {
      this.#complaint = what;
      const { log, path } = this.#options;
      log("error", SCOPE, "mesh file is wrong, the mesh stays as it was", { path, error });
    }
    return "refused";
  }

  #failed(error: unknown): Look {
    this.#file.forget();
    if (!(error instanceof Deno.errors.NotFound)) return this.#refuse(textOf(error), textOf(error));
    if (this.#complaint !== "gone") {
      this.#complaint = "gone";
      const { log, path } = this.#options;
      log("warn", SCOPE, "mesh file is gone, the mesh stays as it was", { path });
    }
    return "gone";
  }
}

/** A peer's or operator's fault in one line; of a bug, where it is. */
function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isExpected = error instanceof ProxyError || error.name in Deno.errors;
  return isExpected ? error.message : error.stack ?? error.message;
}

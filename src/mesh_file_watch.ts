// Follows the mesh file: takes each new content that stands still and is a mesh.
import type { Clock } from "./base/clock.ts";
import { watchFile } from "./file_watch.ts";
import { MeshFileFollower, type MeshFileFollowerOptions } from "./mesh_file_follower.ts";

export interface MeshFileWatchOptions extends MeshFileFollowerOptions {
  readonly clock: Clock;
  readonly pollMs?: number;
  readonly settleMs?: number;
  readonly signal: AbortSignal;
}

/**
 * Calls `onMesh` for each new content of the file until `signal` aborts; then it is over at once. A wrong, absent or
 * half-written file changes nothing. Never fails.
 */
export function watchMeshFile(options: MeshFileWatchOptions): Promise<void> {
  const follower = new MeshFileFollower(options);
  return watchFile({ ...options, look: () => follower.look() });
}

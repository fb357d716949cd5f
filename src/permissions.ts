// What the runtime must allow before anything opens, and the sentence for each thing it does not.
import { ProxyError } from "./base/errors.ts";

/** One thing the program will do that the runtime's sandbox must allow. */
export interface Need {
  readonly kind: "net" | "read" | "write" | "env" | "ffi";
  /** As after the flag's `=`: `127.0.0.1:15080`, a path, or a variable's name; null: the flag without a list. */
  readonly what: string | null;
  /** Completes "needed to …". */
  readonly why: string;
}

/** The sandbox lacks something; the message has one line for each missing grant. */
export class PermissionMissingError extends ProxyError {
  readonly code = "PERMISSION_MISSING";
}

function isGranted({ kind, what }: Need): boolean {
  const descriptor: Deno.PermissionDescriptor = what === null
    ? { name: kind }
    : kind === "net"
    ? { name: "net", host: what }
    : kind === "env"
    ? { name: "env", variable: what }
    : { name: kind, path: what };
  return Deno.permissions.querySync(descriptor).state === "granted";
}

/** The sentence for one missing grant. */
export function describeNeed({ kind, what, why }: Need): string {
  const flag = what === null ? `--allow-${kind}` : `--allow-${kind}=${what}`;
  return `Missing permission ${flag}: needed to ${why}`;
}

/**
 * Checks every need without using any.
 * @throws {PermissionMissingError} naming each missing grant and what it is for.
 */
export function requirePermissions(
  needs: readonly Need[],
  granted: (need: Need) => boolean = isGranted,
): void {
  const missing = needs.filter((need) => !granted(need));
  if (missing.length > 0) throw new PermissionMissingError(missing.map(describeNeed).join("\n"));
}

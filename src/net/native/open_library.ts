// Opens a shared library; what stands in the way is one sentence.
import { NativeStartError } from "./start_error.ts";

/**
 * `Deno.dlopen` whose failures are one sentence each: no such file, refused by the loader, a symbol missing, no grant.
 * The caller closes what it gets.
 * @throws {NativeStartError}
 */
export function openLibrary<const Symbols extends Deno.ForeignLibraryInterface>(
  path: string,
  symbols: Symbols,
): Deno.DynamicLibrary<Symbols> {
  try {
    return Deno.dlopen(path, symbols);
  } catch (thrown) {
    throw new NativeStartError(whyNotOpened(path, thrown), { cause: thrown });
  }
}

function whyNotOpened(path: string, thrown: unknown): string {
  if (thrown instanceof Deno.errors.NotCapable) {
    return `Cannot open ${path}: the process has no grant for it; run with --allow-ffi`;
  }
  const text = (thrown instanceof Error ? thrown.message : String(thrown)).trim();
  const symbol = /^Failed to register symbol (\S+): /.exec(text);
  if (symbol !== null) return `Cannot use ${path}: it lacks the symbol ${symbol[1]}`;
  const reason = text.replace(/^(Could not open library: )+/, "");
  return `Cannot open ${path}: ${
    reason.startsWith(`${path}: `) ? reason.slice(path.length + 2) : reason
  }`;
}

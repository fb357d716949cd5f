// Whether the generated code is what the sources make now. Pure.

/** The generated files: name in src/proto/ → text. */
export type Generated = ReadonlyMap<string, string>;

/**
 * Compares `generated` with what `read` finds under the same names.
 * @param read The text of a file as it lies there, null where there is none.
 * @returns A sentence that says which files are stale; null when all are fresh.
 */
export function staleness(
  generated: Generated,
  read: (name: string) => string | null,
): string | null {
  const stale = [...generated].filter(([name, text]) => read(name) !== text).map(([name]) => name);
  if (stale.length === 0) return null;
  const verb = stale.length === 1 ? "is" : "are";
  const files = stale.map((name) => `src/proto/${name}`).join(" and ");
  return `${files} ${verb} stale: proto/*.proto or the generator changed; run \`deno task proto\``;
}

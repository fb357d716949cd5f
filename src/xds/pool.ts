// Equal values once in memory: endpoints of one deployment share their ports, services, locality and waypoint.

/** Values that one {@link Pool} remembers; when it is full it forgets all of them and begins again. */
export const POOLED_MAX = 4_096;

/** A longer key is not worth remembering. */
export const POOLED_KEY_CHARS_MAX = 1_024;

/** Remembers immutable values by what they were made from. Whoever uses them compares nothing by identity. */
export class Pool<Value> {
  readonly #values = new Map<string, Value>();

  /** The value remembered under `key`, or what `make` gives. `key` says everything about the value. */
  get(key: string, make: () => Value): Value {
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    const made = make();
    if (key.length > POOLED_KEY_CHARS_MAX) return made;
    if (this.#values.size >= POOLED_MAX) this.#values.clear();
    this.#values.set(key, made);
    return made;
  }
}

/** A part of a key that cannot run into the next one, whatever it contains. */
export function keyPart(text: string): string {
  return `${text.length}:${text}`;
}

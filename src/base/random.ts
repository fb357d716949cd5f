// Randomness as an argument, so that a seed replays a run.

/** Source of random numbers for choices, jitter and trace ids; never for keys. */
export interface Random {
  /** 0 to 2^32-1, uniform. */
  uint32(): number;
}

/** Draws from the runtime's cryptographic generator, 1 KiB at a time. */
export class SystemRandom implements Random {
  readonly #pool = new Uint32Array(256);
  #next = this.#pool.length;

  uint32(): number {
    if (this.#next === this.#pool.length) {
      crypto.getRandomValues(this.#pool);
      this.#next = 0;
    }
    return this.#pool[this.#next++]!;
  }
}

/** A generator that repeats for a seed (xorshift128, Marsaglia 2003). Tests and simulation only. */
export class SeededRandom implements Random {
  #x: number;
  #y = 362436069;
  #z = 521288629;
  #w = 88675123;

  /** @param seed 0 to 2^32-1. */
  constructor(seed: number) {
    this.#x = (seed ^ 0x9e3779b9) >>> 0;
    if (this.#x === 0) this.#x = 1;
    for (let round = 0; round < 16; round++) this.uint32();
  }

  uint32(): number {
    const t = (this.#x ^ (this.#x << 11)) >>> 0;
    this.#x = this.#y;
    this.#y = this.#z;
    this.#z = this.#w;
    this.#w = (this.#w ^ (this.#w >>> 19) ^ t ^ (t >>> 8)) >>> 0;
    return this.#w;
  }
}

/** 0 to `below`-1, for `below` from 1 to 2^32. The bias of at most 2^-20 is harmless for choices. */
export function randomBelow(random: Random, below: number): number {
  return Math.floor((random.uint32() / 0x1_0000_0000) * below);
}

/** 0 to less than `below`, whole or not, for any finite `below` above 0; in steps of a 2^32nd of it. */
export function randomPoint(random: Random, below: number): number {
  return random.uint32() / 0x1_0000_0000 * below;
}

// How a loop fares: turns, wakes, and how long turns take. Counting allocates nothing.

/** Buckets per doubling of the turn time: each is at most a quarter wider than the one before. */
const BUCKETS_PER_OCTAVE = 4;
/** Turn times from here on share the last bucket: 2^24 µs, about 17 s. */
const OCTAVES = 24;

/** Counters of one loop since the last {@link LoopStats.reset}. */
export class LoopStats {
  /** Turns that did something. */
  turns = 0;
  /** Times the loop slept and was woken, by a descriptor or a timer. */
  wakes = 0;
  /** Descriptors reported ready. */
  events = 0;
  timers = 0;
  tasks = 0;
  /** Exceptions caught: of watchers, timers and tasks. */
  bugs = 0;
  /** Sleeps avoided, or tried to, by spinning first. */
  spins = 0;
  spinHits = 0;
  /** The longest turn, in microseconds. */
  turnMaxUs = 0;
  readonly #buckets = new Uint32Array(BUCKETS_PER_OCTAVE * (OCTAVES + 1));
  #sinceMs: number;

  /** @param nowMs As of the loop's clock. */
  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  /** A turn took `us` microseconds, waiting not included. */
  recordTurn(us: number): void {
    this.turns++;
    if (us > this.turnMaxUs) this.turnMaxUs = us;
    this.#buckets[bucketOf(us)]!++;
  }

  /** The turn time that a share of turns did not exceed, in microseconds, rounded up to its bucket; 0 for no turns. */
  turnQuantileUs(share: number): number {
    let left = Math.max(1, Math.ceil(this.turns * share));
    if (this.turns === 0) return 0;
    for (let bucket = 0; bucket < this.#buckets.length; bucket++) {
      left -= this.#buckets[bucket]!;
      if (left <= 0) return Math.min(bucketTopUs(bucket), this.turnMaxUs);
    }
    return this.turnMaxUs;
  }

  wakesPerSecond(nowMs: number): number {
    return nowMs > this.#sinceMs ? this.wakes * 1000 / (nowMs - this.#sinceMs) : 0;
  }

  /** Seconds counted so far, in milliseconds. */
  spanMs(nowMs: number): number {
    return nowMs - this.#sinceMs;
  }

  reset(nowMs: number): void {
    this.turns = 0;
    this.wakes = 0;
    this.events = 0;
    this.timers = 0;
    this.tasks = 0;
    this.bugs = 0;
    this.spins = 0;
    this.spinHits = 0;
    this.turnMaxUs = 0;
    this.#buckets.fill(0);
    this.#sinceMs = nowMs;
  }
}

function bucketOf(us: number): number {
  const whole = Math.min(Math.floor(us), 2 ** OCTAVES - 1);
  if (whole < BUCKETS_PER_OCTAVE) return Math.max(0, whole);
  const octave = 31 - Math.clz32(whole);
  return (octave - 1) * BUCKETS_PER_OCTAVE + (whole >> octave - 2 & BUCKETS_PER_OCTAVE - 1);
}

/** The first microsecond beyond the bucket. */
function bucketTopUs(bucket: number): number {
  if (bucket < BUCKETS_PER_OCTAVE) return bucket + 1;
  const octave = Math.floor(bucket / BUCKETS_PER_OCTAVE) + 1;
  const quarter = bucket % BUCKETS_PER_OCTAVE;
  return (BUCKETS_PER_OCTAVE + quarter + 1) * 2 ** (octave - 2);
}

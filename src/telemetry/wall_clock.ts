// The time of a log line: the system's wall clock, with the microseconds that Date.now() lacks.

/**
 * Makes a reader of milliseconds since 1970-01-01 UTC with a fraction. It stays within the millisecond that
 * `dateMs` says, so it follows every jump of the system's clock, and never goes back within one.
 * @param dateMs The wall clock in whole milliseconds.
 * @param monotonicMs Any clock with a finer grain that never goes back.
 */
export function preciseWallClock(
  dateMs: () => number = Date.now,
  monotonicMs: () => number = () => performance.now(),
): () => number {
  let offsetMs = dateMs() - monotonicMs();
  return () => {
    const fineMs = monotonicMs();
    const wholeMs = dateMs();
    const guessMs = offsetMs + fineMs;
    if (guessMs >= wholeMs && guessMs < wholeMs + 1) return guessMs;
    const nearestMs = guessMs < wholeMs ? wholeMs : wholeMs + 0.999;
    offsetMs = nearestMs - fineMs;
    return nearestMs;
  };
}

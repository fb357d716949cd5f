// Logging as the process uses it: environment values in, a logger out, nothing lost at the end.
import type { LogFormatter } from "./log_event.ts";
import { LogFilter } from "./log_filter.ts";
import { logFormatter } from "./log_format.ts";
import { type LineTarget, LineWriter } from "./line_writer.ts";
import { Logger } from "./logger.ts";
import { openLogTape } from "./logtape.ts";
import { preciseWallClock } from "./wall_clock.ts";

export interface LoggingOptions {
  /** Value of RUST_LOG; undefined where unset. */
  readonly rustLog: string | undefined;
  /** Value of LOG_FORMAT; undefined where unset. */
  readonly logFormat: string | undefined;
  /** Default: the process's stdout. */
  readonly target?: LineTarget;
}

/** The process's logging. Dispose (asynchronously) as the last step of the shutdown. */
export interface Logging extends AsyncDisposable {
  readonly logger: Logger;
  /** Lines that stdout refused: closed, or a full disk. */
  readonly linesLost: number;
  /** Writes all that is held before it returns: before `Deno.exit` where nothing can be awaited. */
  flushSync(): void;
}

/**
 * Sets up logging to stdout through LogTape. What is held is also written when the process ends by `Deno.exit`,
 * by an uncaught error or by an unhandled rejection; none of those is prevented.
 * @throws {LogFilterError} if RUST_LOG cannot be read.
 */
export function openLogging(options: LoggingOptions): Logging {
  const filter = LogFilter.parse(options.rustLog);
  const format: LogFormatter = logFormatter(options.logFormat);
  const writer = new LineWriter(options.target ?? Deno.stdout);
  const backEnd = openLogTape({ format, writer });
  const logger = new Logger({ filter, sink: backEnd.sink, wallMs: preciseWallClock() });
  const flush = () => writer.flushSync();
  const failures = ["error", "unhandledrejection"] as const;
  for (const failure of failures) globalThis.addEventListener(failure, flush);
  return {
    logger,
    get linesLost() {
      return writer.linesLost;
    },
    flushSync: flush,
    async [Symbol.asyncDispose]() {
      await writer.close();
      for (const failure of failures) globalThis.removeEventListener(failure, flush);
      backEnd[Symbol.dispose]();
    },
  };
}

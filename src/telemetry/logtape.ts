// LogTape as the back end: it takes each record, routes it by category and ends the sink with the process.
import { type Config, configureSync, getConfig, getLogger, type LogRecord } from "@logtape/logtape";
import { resetSync } from "@logtape/logtape";
import { assert } from "../base/assert.ts";
import type { LogLevel } from "../seam/events.ts";
import type { LineWriter } from "./line_writer.ts";
import {
  type LogEvent,
  type LogFormatter,
  type LogSink,
  NO_FIELDS,
  NO_SPANS,
} from "./log_event.ts";

/** Category of the records that carry our events; any other category is a library's. */
const CATEGORY = ["ztunnel"];

const TO_LOGTAPE = {
  trace: "trace",
  debug: "debug",
  info: "info",
  warn: "warning",
  error: "error",
} as const satisfies Record<LogLevel, LogRecord["level"]>;

const FROM_LOGTAPE: Readonly<Record<LogRecord["level"], LogLevel>> = {
  trace: "trace",
  debug: "debug",
  info: "info",
  warning: "warn",
  error: "error",
  fatal: "error",
};

/** One open back end: where its lines go and how they look. */
interface Output {
  readonly format: LogFormatter;
  readonly writer: LineWriter;
}

/** Tells LogTape that a sink reads the record at once, so that nothing has to be copied for it. */
const IMMEDIATE = Symbol.for("LogTape.sinkSnapshotPolicy.immediate");

/** LogTape's configuration is one per process; these share it. In the order they were opened. */
const outputs: Output[] = [];

const CONFIG: Config<"lines", never> = {
  sinks: {
    lines: Object.assign(
      writeRecord,
      {
        // LogTape calls it when the process ends in order ("unload"), so that what is held is written.
        [Symbol.dispose]: () => outputs.forEach(({ writer }) => writer.flushSync()),
        [IMMEDIATE]: true,
      },
    ),
  },
  loggers: [
    // Our own filter has decided before a record exists, so LogTape lets all of ours pass.
    { category: CATEGORY, sinks: ["lines"], parentSinks: "override", lowestLevel: "trace" },
    { category: [], sinks: ["lines"], lowestLevel: "warning" },
    { category: ["logtape", "meta"], lowestLevel: "warning" },
  ],
};

/**
 * Opens a back end that writes events through LogTape, `format` and `writer`. What libraries and LogTape itself
 * report goes to the one opened last, from level warning on, with the category as its scope. An application that
 * embeds us and has configured LogTape keeps its configuration: our lines then go straight to `writer`.
 * @returns What {@link Logger} writes to; dispose writes what is held.
 */
export function openLogTape(output: Output): { readonly sink: LogSink } & Disposable {
  if (getConfig() === null) configureSync(CONFIG);
  const logger = getLogger(CATEGORY);
  const own = getConfig() === CONFIG;
  outputs.push(output);
  return {
    sink: (event) => own ? logger.emit(recordOf(event, output)) : writeTo(output, event),
    [Symbol.dispose]: () => {
      const index = outputs.indexOf(output);
      if (index < 0) return;
      output.writer.flushSync();
      outputs.splice(index, 1);
      if (outputs.length === 0 && getConfig() === CONFIG) resetSync();
    },
  };
}

/** Event and output travel whole, so that LogTape has two references to copy and nothing to interpret. */
function recordOf(event: LogEvent, output: Output): LogRecord {
  const message = event.message ?? "";
  return {
    category: CATEGORY,
    level: TO_LOGTAPE[event.level],
    message: [message],
    rawMessage: message,
    timestamp: event.wallMs,
    properties: { event, output },
  };
}

/** The sink of {@link CONFIG}. */
function writeRecord(record: LogRecord): void {
  if (record.category[0] === CATEGORY[0]) {
    const { event, output } = record.properties as { event: LogEvent; output: Output };
    return writeTo(output, event);
  }
  const latest = outputs.at(-1);
  assert(latest !== undefined, "LogTape is configured only while an output is open");
  writeTo(latest, {
    wallMs: record.timestamp,
    level: FROM_LOGTAPE[record.level],
    scope: record.category.join("::"),
    message: record.message.map(String).join(""),
    fields: NO_FIELDS,
    spans: NO_SPANS,
  });
}

function writeTo({ format, writer }: Output, event: LogEvent): void {
  writer.write(format(event));
}

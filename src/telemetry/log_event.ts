// A log line before it is text, and where such lines go.
import type { LogLevel, LogValue } from "../seam/events.ts";

/** Fields in the order they are written; undefined ones are left out. */
export type LogFields = Readonly<Record<string, LogValue | undefined>>;

/** What the line happened inside of, outermost first: `proxy{wl=default/echo-1}`. */
export interface LogSpan {
  readonly name: string;
  readonly fields: LogFields;
}

export interface LogEvent {
  /** Milliseconds since 1970-01-01 UTC, with a fraction. */
  readonly wallMs: number;
  readonly level: LogLevel;
  /** The original's module path (spec/config-and-observability §7.1): `ztunnel::proxy::pool`, `access`. */
  readonly scope: string;
  /** Null for lines that consist of fields alone (the DNS log). */
  readonly message: string | null;
  readonly fields: LogFields;
  readonly spans: readonly LogSpan[];
}

/** Takes an event that passed the filter. Never throws. */
export type LogSink = (event: LogEvent) => void;

/** Turns an event into one line, its final newline included. */
export type LogFormatter = (event: LogEvent) => string;

export const NO_FIELDS: LogFields = Object.freeze({});
export const NO_SPANS: readonly LogSpan[] = Object.freeze([]);

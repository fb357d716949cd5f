// Events as lines, plain and JSON, to the byte (spec/config-and-observability §7.2, §7.3). Pure.
import type { LogValue } from "../seam/events.ts";
import type { LogEvent, LogFields, LogFormatter, LogSpan } from "./log_event.ts";

/** What the last line of defence looks for: the armour of any PEM private key, encrypted or not. */
const SECRET_MARK = "PRIVATE KEY";
const REDACTED = "[redacted: private key]";

/** Text that goes between quotes as it is. */
const PLAINLY_QUOTABLE = /^[ !#-[\]-~]*$/;
/** Text that needs no quotes: no space, quote, control or other character that could fake a field. */
const PLAINLY_BARE = /^[!#-~]+$/;
/** Not printable, as the original's formatter sees it: controls, separators, combining marks. */
const UNPRINTABLE = /[\p{C}\p{Z}\p{Grapheme_Extend}]/u;
/** Controls of C0 and C1, and the separators that some readers of lines obey. */
const CONTROLS = /[\p{Cc}\u2028\u2029]/gu;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\t": "\\t",
  "\r": "\\r",
  "\0": "\\0",
};

/** `<time>\t<level>\t<scope>[:<span>{…}]…\t<message>\t<k>=<v> …\n` (§7.2). */
export const formatPlain: LogFormatter = (event) => withoutSecrets(event, plainLine);

/** One object per line: level, time, scope, message, fields, spans (§7.3). */
export const formatJson: LogFormatter = (event) => withoutSecrets(event, jsonLine);

/** The formatter for LOG_FORMAT: exactly `json` is JSON, anything else plain. */
export function logFormatter(logFormat: string | undefined): LogFormatter {
  return logFormat === "json" ? formatJson : formatPlain;
}

function withoutSecrets(event: LogEvent, format: LogFormatter): string {
  const line = format(event);
  return line.includes(SECRET_MARK) ? format(redact(event)) : line;
}

function redact(event: LogEvent): LogEvent {
  const text = (one: string) => one.includes(SECRET_MARK) ? REDACTED : one;
  const value = (one: LogValue | undefined): LogValue | undefined => {
    if (typeof one === "string") return text(one);
    return typeof one === "object" ? { unquoted: text(one.unquoted) } : one;
  };
  const fields = (all: LogFields): LogFields =>
    Object.fromEntries(Object.entries(all).map(([key, one]) => [text(key), value(one)]));
  return {
    ...event,
    message: event.message === null ? null : text(event.message),
    fields: fields(event.fields),
    spans: event.spans.map((span) => ({ name: span.name, fields: fields(span.fields) })),
  };
}

function plainLine(event: LogEvent): string {
  const { scope, message, spans } = event;
  let line = `${formatTime(event.wallMs)}\t${event.level}\t${
    scope.startsWith("ztunnel::") ? scope.slice("ztunnel::".length) : scope
  }`;
  for (const span of spans) line += plainSpan(span);
  const text = message === null ? "" : `${oneLine(message)}\t`;
  return `${line}\t${text}${plainFields(event.fields)}\n`;
}

/** A message may hold a peer's words: what could begin another line or column is escaped. */
function oneLine(message: string): string {
  return message.replace(
    CONTROLS,
    (one) => ESCAPES[one] ?? `\\u{${one.codePointAt(0)!.toString(16)}}`,
  );
}

function plainSpan({ name, fields }: LogSpan): string {
  const text = plainFields(fields);
  return text === "" ? `:${name}` : `:${name}{${text}}`;
}

function plainFields(fields: LogFields): string {
  let text = "";
  for (const key in fields) {
    const value = fields[key];
    if (value === undefined) continue;
    text += `${text === "" ? "" : " "}${key}=${plainValue(value)}`;
  }
  return text;
}

function plainValue(value: LogValue): string {
  if (typeof value === "string") return quote(value);
  if (typeof value !== "object") return String(value);
  return PLAINLY_BARE.test(value.unquoted) ? value.unquoted : quote(value.unquoted);
}

function quote(text: string): string {
  if (PLAINLY_QUOTABLE.test(text)) return `"${text}"`;
  let escaped = "";
  for (const character of text) {
    const known = ESCAPES[character];
    if (known !== undefined) escaped += known;
    else if (character !== " " && UNPRINTABLE.test(character)) {
      escaped += `\\u{${character.codePointAt(0)!.toString(16)}}`;
    } else escaped += character;
  }
  return `"${escaped}"`;
}

function jsonLine(event: LogEvent): string {
  const { level, scope, message, fields, spans } = event;
  let line = `{"level":"${level}","time":"${formatTime(event.wallMs)}","scope":${
    JSON.stringify(scope)
  }`;
  if (message !== null) line += `,"message":${JSON.stringify(message)}`;
  for (const key in fields) {
    const value = fields[key];
    if (value !== undefined) line += `,${JSON.stringify(key)}:${jsonValue(value)}`;
  }
  for (const span of spans) line += `,${JSON.stringify(span.name)}:{${jsonSpanFields(span)}}`;
  return `${line}}\n`;
}

function jsonSpanFields({ fields }: LogSpan): string {
  const parts: string[] = [];
  for (const key of Object.keys(fields).sort()) {
    const value = fields[key];
    if (value !== undefined) parts.push(`${JSON.stringify(key)}:${jsonValue(value)}`);
  }
  return parts.join(",");
}

function jsonValue(value: LogValue): string {
  return JSON.stringify(typeof value === "object" ? value.unquoted : value);
}

let secondOfPrefix = Number.NaN;
let prefix = "";

/** `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always six digits. The part up to the point is kept for its second. */
export function formatTime(wallMs: number): string {
  const micros = Math.round(wallMs * 1_000);
  const second = Math.floor(micros / 1_000_000);
  if (second !== secondOfPrefix) {
    secondOfPrefix = second;
    prefix = new Date(second * 1_000).toISOString().slice(0, -"000Z".length);
  }
  return `${prefix}${String(micros - second * 1_000_000).padStart(6, "0")}Z`;
}

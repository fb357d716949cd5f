// The two line formats to the byte (spec/config-and-observability §7.2, §7.3).
import { assertEquals } from "@std/assert";
import { type LogEvent, NO_FIELDS, NO_SPANS } from "./log_event.ts";
import { formatJson, formatPlain, formatTime, logFormatter } from "./log_format.ts";

/** 2026-08-20T17:18:00.953004Z. */
const WALL_MS = Date.UTC(2026, 7, 20, 17, 18, 0) + 953.004;
const TIME = "2026-08-20T17:18:00.953004Z";

function event(changes: Partial<LogEvent>): LogEvent {
  return {
    wallMs: WALL_MS,
    level: "info",
    scope: "ztunnel::app",
    message: "hello",
    fields: NO_FIELDS,
    spans: NO_SPANS,
    ...changes,
  };
}

const CASES = [
  {
    name: "address and string fields",
    given: event({
      scope: "ztunnel::hyper_util",
      message: "listener established",
      fields: { address: { unquoted: "[::]:15021" }, component: "readiness" },
    }),
    plain: `${TIME}\tinfo\thyper_util\tlistener established\t` +
      `address=[::]:15021 component="readiness"\n`,
    json: `{"level":"info","time":"${TIME}","scope":"ztunnel::hyper_util",` +
      `"message":"listener established","address":"[::]:15021","component":"readiness"}\n`,
  },
  {
    name: "a span with a field, and no field of its own",
    given: event({
      scope: "ztunnel::xds::client",
      message: "Stream established",
      spans: [{ name: "xds", fields: { id: 1 } }],
    }),
    plain: `${TIME}\tinfo\txds::client:xds{id=1}\tStream established\t\n`,
    json: `{"level":"info","time":"${TIME}","scope":"ztunnel::xds::client",` +
      `"message":"Stream established","xds":{"id":1}}\n`,
  },
  {
    name: "spans outermost first; JSON sorts their keys",
    given: event({
      level: "debug",
      scope: "ztunnel::proxy::inbound",
      message: "connected to: 10.0.0.2:8080",
      spans: [
        { name: "proxy", fields: { wl: { unquoted: "default/echo-1" } } },
        {
          name: "inbound",
          fields: { id: { unquoted: "4bf9" }, addr: { unquoted: "10.0.0.1:35380" } },
        },
        { name: "bare", fields: NO_FIELDS },
      ],
    }),
    plain: `${TIME}\tdebug\tproxy::inbound:proxy{wl=default/echo-1}:` +
      `inbound{id=4bf9 addr=10.0.0.1:35380}:bare\tconnected to: 10.0.0.2:8080\t\n`,
    json: `{"level":"debug","time":"${TIME}","scope":"ztunnel::proxy::inbound",` +
      `"message":"connected to: 10.0.0.2:8080","proxy":{"wl":"default/echo-1"},` +
      `"inbound":{"addr":"10.0.0.1:35380","id":"4bf9"},"bare":{}}\n`,
  },
  {
    name: "a message without fields",
    given: event({}),
    plain: `${TIME}\tinfo\tapp\thello\t\n`,
    json: `{"level":"info","time":"${TIME}","scope":"ztunnel::app","message":"hello"}\n`,
  },
  {
    name: "fields without a message",
    given: event({ level: "debug", scope: "dns", message: null, fields: { query: "A" } }),
    plain: `${TIME}\tdebug\tdns\tquery="A"\n`,
    json: `{"level":"debug","time":"${TIME}","scope":"dns","query":"A"}\n`,
  },
  {
    name: "the root scope, numbers, booleans and absent values",
    given: event({
      scope: "ztunnel",
      fields: { n: 11, skipped: undefined, yes: true, "dotted.name": "x" },
    }),
    plain: `${TIME}\tinfo\tztunnel\thello\tn=11 yes=true dotted.name="x"\n`,
    json: `{"level":"info","time":"${TIME}","scope":"ztunnel","message":"hello",` +
      `"n":11,"yes":true,"dotted.name":"x"}\n`,
  },
];

Deno.test.each(CASES)("formatPlain() writes $name", ({ given, plain }) => {
  assertEquals(formatPlain(given), plain);
});

Deno.test.each(CASES)("formatJson() writes $name", ({ given, json }) => {
  assertEquals(formatJson(given), json);
  assertEquals(typeof JSON.parse(json), "object");
});

Deno.test.each([
  { name: "quote", value: 'a"b', plain: String.raw`"a\"b"`, json: String.raw`"a\"b"` },
  { name: "backslash", value: "a\\b", plain: String.raw`"a\\b"`, json: String.raw`"a\\b"` },
  { name: "newline", value: "a\nb", plain: String.raw`"a\nb"`, json: String.raw`"a\nb"` },
  { name: "tab, return", value: "\t\r", plain: String.raw`"\t\r"`, json: String.raw`"\t\r"` },
  { name: "null", value: "\0", plain: String.raw`"\0"`, json: String.raw`"\u0000"` },
  {
    name: "escape",
    value: "\x1b[1m",
    plain: String.raw`"\u{1b}[1m"`,
    json: String.raw`"\u001b[1m"`,
  },
  { name: "delete", value: "\x7f", plain: String.raw`"\u{7f}"`, json: '"\x7f"' },
  { name: "no-break space", value: "a\u00a0b", plain: String.raw`"a\u{a0}b"`, json: '"a\u00a0b"' },
  { name: "accents and emoji", value: "é 🙂", plain: '"é 🙂"', json: '"é 🙂"' },
  { name: "apostrophe", value: "it's", plain: '"it\'s"', json: '"it\'s"' },
  { name: "nothing", value: "", plain: '""', json: '""' },
])("Formatters escape once: $name", ({ value, plain, json }) => {
  const given = event({ fields: { k: value } });
  assertEquals(formatPlain(given), `${TIME}\tinfo\tapp\thello\tk=${plain}\n`);
  assertEquals(formatJson(given).endsWith(`"k":${json}}\n`), true, formatJson(given));
});

Deno.test.each([
  { value: "echo.default.svc.cluster.local:80", plain: "echo.default.svc.cluster.local:80" },
  { value: "a b=c", plain: '"a b=c"' },
  { value: 'a"', plain: String.raw`"a\""` },
  { value: "a\nb", plain: String.raw`"a\nb"` },
  { value: "", plain: '""' },
])("formatPlain() quotes a bare value that could fake a field: $value", ({ value, plain }) => {
  const line = formatPlain(event({ fields: { k: { unquoted: value } } }));
  assertEquals(line, `${TIME}\tinfo\tapp\thello\tk=${plain}\n`);
});

Deno.test("Formatters never let a private key pass", () => {
  const secret = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
  const given = event({
    message: `loaded ${secret}`,
    fields: { key: secret, bare: { unquoted: secret }, kept: "x", n: 1 },
    spans: [{ name: "s", fields: { key: secret } }],
  });
  assertEquals(
    formatPlain(given),
    `${TIME}\tinfo\tapp:s{key="[redacted: private key]"}\t[redacted: private key]\t` +
      `key="[redacted: private key]" bare="[redacted: private key]" kept="x" n=1\n`,
  );
  assertEquals(
    formatJson(given),
    `{"level":"info","time":"${TIME}","scope":"ztunnel::app","message":"[redacted: private key]",` +
      `"key":"[redacted: private key]","bare":"[redacted: private key]","kept":"x","n":1,` +
      `"s":{"key":"[redacted: private key]"}}\n`,
  );
});

Deno.test.each([
  { wallMs: 0, expected: "1970-01-01T00:00:00.000000Z" },
  { wallMs: WALL_MS, expected: TIME },
  {
    wallMs: Date.UTC(2026, 11, 31, 23, 59, 59) + 999.9999,
    expected: "2027-01-01T00:00:00.000000Z",
  },
  { wallMs: Date.UTC(2026, 0, 2) + 0.001, expected: "2026-01-02T00:00:00.000001Z" },
  { wallMs: Date.UTC(2026, 0, 1), expected: "2026-01-01T00:00:00.000000Z" },
])("formatTime() writes $expected", ({ wallMs, expected }) => {
  assertEquals(formatTime(wallMs), expected);
});

Deno.test("logFormatter() takes exactly json for JSON", () => {
  assertEquals(["json", "JSON", "", "plain", undefined].map(logFormatter), [
    formatJson,
    formatPlain,
    formatPlain,
    formatPlain,
    formatPlain,
  ]);
});

Deno.test.each([
  { name: "a line break", said: "a\nb\r\nc", expected: "a\\nb\\r\\nc" },
  { name: "a tab", said: "a\tinfo", expected: "a\\tinfo" },
  { name: "a terminal's escape", said: "\x1b[31m\x9b", expected: "\\u{1b}[31m\\u{9b}" },
  { name: "a line separator", said: "a\u2028b", expected: "a\\u{2028}b" },
])(
  "formatPlain() keeps $name in a message from beginning a line or column",
  ({ said, expected }) => {
    const line = formatPlain(event({ message: said }));
    assertEquals(line, `${TIME}\tinfo\tapp\t${expected}\t\n`);
  },
);

// Tests of metadata.ts: variables known by how their names begin (spec/config-and-observability §2.2, §2.3).
import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError, type Notice, VALUE_SHOWN_CHARS_MAX } from "./errors.ts";
import {
  JSON_DEPTH_MAX,
  PREFIXED_NAME_CHARS_MAX,
  PREFIXED_NAMES_MAX,
  PrefixedVariables,
} from "./metadata.ts";
import { CONFIG_PREFIXES } from "./variables.ts";

function prefixed(variables: Readonly<Record<string, string>>, names = Object.keys(variables)) {
  return new PrefixedVariables((name) => variables[name], names);
}

function json(variables: Readonly<Record<string, string>>) {
  const notices: Notice[] = [];
  const metadata = prefixed(variables).jsonMetadata(notices);
  return { metadata: Object.fromEntries(metadata), notices };
}

function headers(variables: Readonly<Record<string, string>>) {
  const notices: Notice[] = [];
  return { headers: prefixed(variables).headers("XDS_HEADER_", notices), notices };
}

const refusal = (read: () => unknown): string => assertThrows(read, ConfigError).message;

Deno.test("PrefixedVariables.metadata() puts ISTIO_META_* over ProxyConfig's", () => {
  const proxyConfig = new Map([["FOO", "foo"], ["BAR", "bar"]]);
  const variables = { ISTIO_META_BAR: "env", ISTIO_META_X: "x", ISTIO_METAJSON_J: "1", OTHER: "o" };
  assertEquals(
    Object.fromEntries(prefixed(variables).metadata(proxyConfig)),
    { FOO: "foo", BAR: "env", X: "x" },
  );
});

Deno.test("PrefixedVariables.metadata() has what is always asked for without being told its name", () => {
  const variables = { ISTIO_META_CLUSTER_ID: "c1", ISTIO_META_UNTOLD: "x" };
  assertEquals(
    Object.fromEntries(prefixed(variables, []).metadata(new Map())),
    { CLUSTER_ID: "c1" },
  );
});

Deno.test("PrefixedVariables.metadata() passes over names that are not set", () => {
  assertEquals(prefixed({}, ["ISTIO_META_X", "ISTIO_META_X"]).metadata(new Map()).size, 0);
});

Deno.test("PrefixedVariables.jsonMetadata() keeps the values' types", () => {
  const { metadata, notices } = json({
    ISTIO_METAJSON_LABELS: '{"app":"foo","n":1,"l":[true,null]}',
    ISTIO_METAJSON_N: "-1.5",
    ISTIO_METAJSON_S: '"s"',
  });
  assertEquals(metadata, { LABELS: { app: "foo", n: 1, l: [true, null] }, N: -1.5, S: "s" });
  assertEquals(notices, []);
});

Deno.test.each(["", "{", "{app:foo}", "1e999", '"\\ud800"', '{"\\ud800":1}', "undefined"])(
  "PrefixedVariables.jsonMetadata() leaves out %j and says so",
  (value) => {
    assertEquals(json({ ISTIO_METAJSON_BAD: value, ISTIO_METAJSON_GOOD: "1" }), {
      metadata: { GOOD: 1 },
      notices: [{ level: "error", text: `failed to parse ISTIO_METAJSON_BAD=${value}` }],
    });
  },
);

Deno.test("PrefixedVariables.jsonMetadata() takes a depth of JSON_DEPTH_MAX", () => {
  const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  const isTaken = (depth: number) => "D" in json({ ISTIO_METAJSON_D: nested(depth) }).metadata;
  assertEquals([JSON_DEPTH_MAX - 1, JSON_DEPTH_MAX, JSON_DEPTH_MAX + 1].map(isTaken), [
    true,
    true,
    false,
  ]);
  assertEquals(isTaken(100_000), false);
});

Deno.test("PrefixedVariables.jsonMetadata() repeats VALUE_SHOWN_CHARS_MAX characters of a bad value", () => {
  const said = (chars: number) =>
    json({ ISTIO_METAJSON_X: "x".repeat(chars) }).notices[0]!.text.length -
    "failed to parse ISTIO_METAJSON_X=".length;
  assertEquals(
    [VALUE_SHOWN_CHARS_MAX - 1, VALUE_SHOWN_CHARS_MAX, VALUE_SHOWN_CHARS_MAX + 1].map(said),
    [VALUE_SHOWN_CHARS_MAX - 1, VALUE_SHOWN_CHARS_MAX, VALUE_SHOWN_CHARS_MAX + 1],
  );
  assertEquals(said(100_000), VALUE_SHOWN_CHARS_MAX + 1);
});

Deno.test("PrefixedVariables.headers() makes lower-case names", () => {
  assertEquals(
    headers({ XDS_HEADER_HEADER_FOO: "foo", "XDS_HEADER_x-y": "a b\tc", CA_HEADER_Z: "z" }),
    { headers: [["header_foo", "foo"], ["x-y", "a b\tc"]], notices: [] },
  );
});

Deno.test("PrefixedVariables.headers() keeps the later of two names that differ in case", () => {
  assertEquals(headers({ XDS_HEADER_a: "2", XDS_HEADER_A: "1" }).headers, [["a", "2"]]);
});

Deno.test.each(["", "A B", "Ü", "A:B", "X-BIN", "x-bin", "(A)"])(
  "PrefixedVariables.headers() refuses the name %j",
  (key) => {
    const read = () => headers({ [`XDS_HEADER_${key}`]: "v" });
    assertEquals(refusal(read), `failed to parse header key: XDS_HEADER_${key}`);
  },
);

Deno.test.each(["s3cr3t\n", "s3cr3t\u007f", "s3cr3t\u00fc", "\u0000s3cr3t"])(
  "PrefixedVariables.headers() refuses the value %j without repeating it",
  (value) => {
    const read = () => headers({ XDS_HEADER_A: value });
    assertEquals(refusal(read), "failed to parse header value: <value of XDS_HEADER_A>");
  },
);

Deno.test("PrefixedVariables.headers() leaves out what gRPC sets itself", () => {
  assertEquals(headers({ XDS_HEADER_TE: "x", XDS_HEADER_AUTHORIZATION: "y" }), {
    headers: [["authorization", "y"]],
    notices: [{
      level: "warn",
      text: "XDS_HEADER_TE has no effect: gRPC sets that header itself",
    }],
  });
});

Deno.test("PrefixedVariables takes PREFIXED_NAMES_MAX names, and any number of others", () => {
  const names = (count: number) =>
    Array.from({ length: count }, (_, at) => `${CONFIG_PREFIXES[at % 4]!.prefix}${at}`);
  const others = Array.from({ length: PREFIXED_NAMES_MAX * 2 }, (_, at) => `OTHER_${at}`);
  for (const count of [PREFIXED_NAMES_MAX - 1, PREFIXED_NAMES_MAX]) {
    prefixed({}, [...names(count), ...names(count), ...others]);
  }
  assertEquals(
    refusal(() => prefixed({}, names(PREFIXED_NAMES_MAX + 1))),
    "invalid configuration: more than 256 variables are named ISTIO_META_*, ISTIO_METAJSON_*, XDS_HEADER_*, CA_HEADER_*",
  );
});

Deno.test("PrefixedVariables takes names of PREFIXED_NAME_CHARS_MAX", () => {
  const name = (chars: number) => "XDS_HEADER_".padEnd(chars, "A");
  prefixed({}, [name(PREFIXED_NAME_CHARS_MAX - 1), name(PREFIXED_NAME_CHARS_MAX)]);
  assertEquals(
    refusal(() => prefixed({}, [name(PREFIXED_NAME_CHARS_MAX + 1)])),
    "invalid configuration: the name of a variable has 257 characters, at most 256 are possible: XDS_HEADER_AAAAAAAAAAAAAAAAAAAAAAAAAAAAA…",
  );
});

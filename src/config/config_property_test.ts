// Whatever the environment holds, settings are a frozen value or one ConfigError, and secrets stay secret.
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Config, readConfig } from "./config.ts";
import { ConfigError } from "./errors.ts";
import { refuseUnbuilt } from "./unbuilt.ts";
import { CONFIG_PREFIXES, CONFIG_VARIABLES } from "./variables.ts";

/** Values that get further than arbitrary text does. */
const TELLING = [
  ...["", "true", "false", "0", "1", "+1", "50%", "1m30s", "500m", "65535", "4294967296"],
  ...["shared", "dedicated", "native", "deno", "a/b/c", "SYSTEM", "unlimited", "pqc"],
  ...["x:1", "https://x:1", "http://127.0.0.1:1", "http://x:1", "localhost:53", "[::1]:53", "::1"],
  ...["-----BEGIN CERTIFICATE-----", "{}", "[", "[".repeat(20_000), "{a: &a [*a]}", "? x"],
  ...["%YAML 1.1\n---\n!!set {a}", "{proxyMetadata: {__proto__: x, DNS_CAPTURE: 1}}", "\u0000"],
];

const value = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(...TELLING) },
  fc.string({ unit: "binary" }),
);

const fixedVariables = fc.dictionary(
  fc.constantFrom(...CONFIG_VARIABLES.map(({ name }) => name)),
  value,
  { maxKeys: 3 },
);

const prefixedVariables = fc.dictionary(
  fc.tuple(
    fc.constantFrom(...CONFIG_PREFIXES.map(({ prefix }) => prefix)),
    fc.oneof(fc.constantFrom("A", "b-c", "", "__proto__"), fc.string()),
  ).map((parts) => parts.join("")),
  value,
  { maxKeys: 2 },
);

/** Enough to start or to nearly start, so that a fair part of the runs gives a Config. */
const environment = fc.tuple(
  fc.constantFrom({}, { PROXY_WORKLOAD_INFO: "a/b/c", FAKE_CA: "true", XDS_ADDRESS: "" }),
  fixedVariables,
  prefixedVariables,
).map(([least, fixed, prefixed]) => new Map(Object.entries({ ...least, ...fixed, ...prefixed })));

const meshText = fc.oneof(
  { weight: 4, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: value },
);

function assertFrozen(part: unknown): void {
  if (typeof part !== "object" || part === null) return;
  assert(Object.isFrozen(part));
  if (part instanceof Map || part instanceof Set) {
    assert(Object.hasOwn(part, "clear"), "A map or set that can be written");
    part.forEach(assertFrozen);
  }
  Object.values(part).forEach(assertFrozen);
}

Deno.test("readConfig() and refuseUnbuilt() give a frozen Config or throw a ConfigError, nothing else", () => {
  const counts = { configs: 0, errors: 0 };
  fc.assert(
    fc.property(environment, fc.boolean(), meshText, (env, exists, mesh) => {
      let config: Config;
      try {
        config = readConfig((name) => env.get(name), {
          names: [...env.keys()],
          exists: () => exists,
          meshConfigText: mesh === null ? null : `{defaultConfig: ${mesh}}`,
        });
        assertFrozen(config);
        counts.configs++;
        assertFrozen(refuseUnbuilt(config));
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        assertEquals(error.code, "CONFIG_INVALID");
        counts.errors++;
      }
    }),
    { numRuns: 1_000 },
  );
  assert(counts.configs > 100 && counts.errors > 100, JSON.stringify(counts));
});

Deno.test("readConfig() repeats no secret in errors and notices", () => {
  // Of the value nothing may be seen, whatever it is made of and whatever else is wrong.
  const secret = fc.tuple(
    fc.constantFrom("", "/", "./", "https://", "-----BEGIN "),
    fc.constantFrom("", " ", "\n", "\u0000", "é"),
  ).map(([before, after]) => `${before}s3cr3t${after}`);
  const holders = ["AUTH_TOKEN", "LOCAL_XDS", "XDS_HEADER_A", "CA_HEADER_TE", "XDS_ROOT_CA"];
  const secrets = fc.dictionary(fc.constantFrom(...holders), secret, { minKeys: 1 });
  fc.assert(
    fc.property(environment, secrets, (env, hidden) => {
      const all = new Map([...env, ...Object.entries(hidden)]);
      try {
        const { notices } = readConfig((name) => all.get(name), { names: [...all.keys()] });
        assertEquals(notices.filter(({ text }) => text.includes("s3cr3t")), []);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        assert(!error.message.includes("s3cr3t"), error.message);
      }
    }),
    { numRuns: 500 },
  );
});

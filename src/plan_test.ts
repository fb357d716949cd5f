import { assertEquals } from "@std/assert";
import { readConfig } from "./config/config.ts";
import { needsOf, planDedicated } from "./plan.ts";
import { SYSTEM_ROOT_PATHS } from "./xds/trust_roots.ts";

interface Case {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  /** Grants beyond those of a proxy without a control plane. */
  readonly needed: readonly string[];
}

const RESOLVER = ["read /etc/resolv.conf", "read /etc/hosts"];

/** Files that exist. */
const FILES = ["./root.pem", "./token"];

/** What a dedicated proxy needs, each as `kind what`. */
function needs(env: Readonly<Record<string, string>>): string[] {
  const all: Readonly<Record<string, string>> = {
    PROXY_MODE: "dedicated",
    PROXY_WORKLOAD_INFO: "ns/name/sa",
    FAKE_CA: "true",
    ...env,
  };
  const config = readConfig((name) => all[name], { exists: (path) => FILES.includes(path) });
  const mesh = { workloads: [], services: [], policies: [], warnings: [] };
  return needsOf(planDedicated(config, mesh)).map(({ kind, what }) => `${kind} ${what}`);
}

Deno.test.each([
  { path: "/var/run/crl/ca-crl.pem", folder: "/var/run/crl/" },
  { path: "ca-crl.pem", folder: "." },
])("needsOf() revocation lists in $path: their folder", ({ path, folder }) => {
  const without = needs({ XDS_ADDRESS: "" });
  const needed = needs({ XDS_ADDRESS: "", CRL_PATH: path }).filter((need) =>
    !without.includes(need)
  );
  assertEquals(needed, [`read ${folder}`]);
});

Deno.test.each<Case>([
  {
    name: "with a root and a token in files",
    env: { XDS_ADDRESS: "istiod.x.svc:15012", XDS_ROOT_CA: "./root.pem", AUTH_TOKEN: "./token" },
    needed: ["net istiod.x.svc:15012", "read ./root.pem", "read ./token", ...RESOLVER],
  },
  {
    name: "with the operating system's roots",
    env: { XDS_ADDRESS: "https://istiod.x.svc", XDS_ROOT_CA: "SYSTEM" },
    needed: [
      "net istiod.x.svc:443",
      ...SYSTEM_ROOT_PATHS.map((path) => `read ${path}`),
      ...RESOLVER,
    ],
  },
  {
    name: "with texts instead of files",
    env: {
      XDS_ADDRESS: "[::1]:15012",
      XDS_ROOT_CA: "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
      AUTH_TOKEN: "a.b.c",
    },
    needed: ["net [::1]:15012", ...RESOLVER],
  },
])("needsOf() a control plane $name", ({ env, needed }) => {
  const without = needs({ XDS_ADDRESS: "" });
  assertEquals(needs(env).filter((need) => !without.includes(need)), needed);
});

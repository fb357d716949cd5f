// What a process may look at decides what it knows; so each case is a process of its own.
import { assertEquals } from "@std/assert";

const MODULE = new URL("./config_sources.ts", import.meta.url).href;

interface Case {
  readonly name: string;
  readonly flags: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Files in the working directory. */
  readonly files?: Readonly<Record<string, string>>;
  /** An expression over `sources`. */
  readonly ask: string;
  readonly answer: unknown;
}

const META = { ISTIO_META_A: "1", XDS_HEADER_B: "2", OTHER: "3" };
const NAMES = { ZTUNNEL_ENV_NAMES: "ISTIO_META_A,OTHER" };

Deno.test.each<Case>([
  {
    name: "all of the environment: names by their prefixes",
    flags: ["--allow-env"],
    env: META,
    ask: "sources.names.sort()",
    answer: ["ISTIO_META_A", "XDS_HEADER_B"],
  },
  {
    name: "some of the environment: names that ZTUNNEL_ENV_NAMES says",
    flags: ["--allow-env=ZTUNNEL_ENV_NAMES,ISTIO_META_*"],
    env: { ...META, ...NAMES },
    ask: "sources.names",
    answer: ["ISTIO_META_A"],
  },
  {
    name: "a mesh configuration file",
    flags: ["--allow-env", "--allow-read=."],
    files: { "etc/istio/config/mesh": "defaultConfig: {}" },
    ask: "sources.meshConfigText",
    answer: "defaultConfig: {}",
  },
  {
    name: "no mesh configuration file",
    flags: ["--allow-env", "--allow-read=."],
    ask: "sources.meshConfigText",
    answer: null,
  },
  {
    name: "a mesh configuration file that may not be read",
    flags: ["--allow-env"],
    files: { "etc/istio/config/mesh": "defaultConfig: {}" },
    ask: "sources.meshConfigText",
    answer: null,
  },
  {
    name: "a file that is there, one that is not, and what is no path",
    flags: ["--allow-env", "--allow-read=."],
    files: { "root.pem": "x" },
    ask: "['./root.pem', './other.pem', 'SYSTEM', 'x'.repeat(5000)].map(sources.exists)",
    answer: [true, false, false, false],
  },
  {
    name:
      "what may not be looked at counts as there where it is written like a path, but not the token",
    flags: ["--allow-env"],
    ask:
      "['./root.pem', '/root.pem', 'SYSTEM', 'a.b.c', './var/run/secrets/tokens/istio-token'].map(sources.exists)",
    answer: [true, true, false, false, false],
  },
])("configSources() with $name", async ({ flags, env = {}, files = {}, ask, answer }) => {
  const directory = await Deno.makeTempDir();
  try {
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(`${directory}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${directory}/${path}`, text);
    }
    const program = `import { configSources } from ${JSON.stringify(MODULE)};
      const sources = configSources();
      console.log(JSON.stringify(${ask}));`;
    await Deno.writeTextFile(`${directory}/ask.ts`, program);
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--no-prompt",
        "--no-check",
        "--config",
        new URL("../deno.json", import.meta.url).pathname,
        ...flags,
        "ask.ts",
      ],
      cwd: directory,
      env,
      stdout: "piped",
      stderr: "piped",
    }).output();
    const said = new TextDecoder().decode(stdout);
    assertEquals(said === "" ? new TextDecoder().decode(stderr) : JSON.parse(said), answer);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

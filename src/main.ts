// The command line: which command, which settings, which signals, which exit code.
import { runPlan } from "./app.ts";
import { ProxyError } from "./base/errors.ts";
import {
  type Config,
  type NativeSettings,
  readConfig,
  readNativeSettings,
} from "./config/config.ts";
import { refuseUnbuilt } from "./config/unbuilt.ts";
import { configSources, ENV_NAMES_VARIABLE, environment } from "./config_sources.ts";
import { CONFIG_VARIABLES } from "./config/variables.ts";
import { LOCAL_MODE_ENVIRONMENT, planLocal } from "./local_mode.ts";
import { type Need, requirePermissions } from "./permissions.ts";
import { inheritedDescriptors } from "./net/inherited.ts";
import { nativeNeeds, type Plan, planDedicated } from "./plan.ts";
import { inspectNative } from "./planes.ts";
import { forgetProxies, PROXY_VARIABLES, ROOT_VARIABLES } from "./runtime_trust.ts";
import { onSignal, type ShutdownState, type Signal } from "./shutdown.ts";
import { type MeshFile, parseMeshFile } from "./state/mesh_file.ts";
import type { Logging } from "./telemetry/logging.ts";
import { buildInfo, formatBuildInfo } from "./telemetry/version.ts";

const COMMANDS = [
  "proxy    run the proxy, driven by environment variables (the default)",
  "local    run a whole mesh on loopback, from a mesh file",
  "version  print the version",
  "help     print this",
] as const;

const EXPLICIT_SHUTDOWN = "received explicit shutdown signal";

/** The runtime cannot be told not to, and its permission to close it again is wider than what it would close. */
const DEBUGGER_OPENED =
  "received signal SIGUSR1, on which the runtime opens its debugger at 127.0.0.1:9229: whoever connects there can do what this process can; restart to close it";

/** Variables that libraries read by themselves; without the grant they throw. */
const LIBRARY_VARIABLES = ["LOG_STREAM", "LOG_TOKENS"] as const;

/** Something at the operator's side keeps the program from starting; the message says what and what to do. */
class StartError extends ProxyError {
  readonly code = "START";
}

/**
 * Runs the proxy of `config` (dedicated mode) until `signal` aborts, then drains it. A shutdown asked for at the
 * admin port ends it too.
 * @throws {ProxyError} if it cannot start; nothing stays open then.
 */
export async function run(config: Config, signal: AbortSignal): Promise<void> {
  const quit = new AbortController();
  await runPlan(planOf(config), {
    stop: AbortSignal.any([signal, quit.signal]),
    requestStop: () => quit.abort(EXPLICIT_SHUTDOWN),
  });
}

/** Runs the command line and ends the process: 0 after a drain, 1 for whatever keeps it from starting. */
export async function main(args: readonly string[]): Promise<void> {
  try {
    Deno.exit(await command(args));
  } catch (error) {
    printError(`Error: ${explain(error)}\n`);
    Deno.exit(1);
  }
}

async function command([name, ...rest]: readonly string[]): Promise<number> {
  switch (name) {
    case undefined:
    case "proxy": // Further arguments are ignored, as the original does; the chart gives one.
      await runUntilSignal(planProxy());
      return 0;
    case "local":
      if (rest.length > 0) throw new StartError(`local takes no arguments, got ${rest[0]}`);
      await runUntilSignal(planLocalMode());
      return 0;
    case "version":
      await printVersion();
      return 0;
    case "help":
      print(help());
      return 0;
    default:
      printError(`unknown command: ${name}\n`);
      print(help());
      return 1;
  }
}

/** What we are; with `IO_PROVIDER=native`, where it may be read, also what that network's TLS runs on. */
async function printVersion(): Promise<void> {
  const native = nativeAsked();
  print(`${formatBuildInfo(buildInfo(undefined, native === null ? "deno" : "native"))}\n`);
  if (native === null) return;
  requirePermissions(nativeNeeds());
  const { openssl, fips, policy } = await inspectNative(native);
  const state = fips === null ? "" : `, ${fips}`;
  print(`native network: ${openssl}, key exchange ${policy}${state}\n`);
}

function nativeAsked(): NativeSettings | null {
  const asked = { name: "env", variable: "IO_PROVIDER" } as const;
  if (Deno.permissions.querySync(asked).state !== "granted") return null;
  if (Deno.env.get("IO_PROVIDER") !== "native") return null;
  return readNativeSettings(environment);
}

function help(): string {
  const build = formatBuildInfo(buildInfo(undefined));
  const lines = COMMANDS.map((line) => `  ${line}`).join("\n");
  return `\nIstio Ztunnel (${build})\n\nCommands:\n${lines}\n`;
}

function planProxy(): Plan {
  return planOf(readSettings({}));
}

function planOf(settings: Config): Plan {
  const config = refuseUnbuilt(settings);
  const { inheritedListeners } = config;
  if (inheritedListeners === null) return planDedicated(config, readMesh(config));
  const { fds, ignored } = inheritedDescriptors(inheritedListeners, Deno.pid);
  const notices = ignored === null
    ? config.notices
    : [...config.notices, { level: "warn", text: ignored } as const];
  return planDedicated({ ...config, notices }, readMesh(config), fds);
}

function planLocalMode(): Plan {
  const config = refuseUnbuilt(readSettings(LOCAL_MODE_ENVIRONMENT));
  return planLocal(config, readMesh(config));
}

/** Settings from the environment; `defaults` stand in for what is not set. */
function readSettings(defaults: Readonly<Record<string, string>>): Config {
  const variable = (name: string, why: string): Need => ({ kind: "env", what: name, why });
  requirePermissions([
    ...CONFIG_VARIABLES.map(({ name, meaning }) => variable(name, `know ${meaning}`)),
    ...LIBRARY_VARIABLES.map((name) => variable(name, "let the YAML parser read its debug switch")),
    variable(ENV_NAMES_VARIABLE, "know which variables are set"),
    ...ROOT_VARIABLES.map((name) => variable(name, "see that the runtime trusts no other roots")),
    ...PROXY_VARIABLES.map((name) => variable(name, "ask nobody in the control plane's place")),
  ]);
  forgetProxies();
  const env = (name: string) => environment(name) ?? defaults[name];
  return readConfig(env, configSources());
}

/** What the mesh file says; nothing where the control plane alone will tell. */
function readMesh({ localMesh, xds }: Config): MeshFile {
  if (localMesh === null) {
    if (xds !== null) return { workloads: [], services: [], policies: [], warnings: [] };
    throw new StartError(
      "invalid configuration: there is no control plane (XDS_ADDRESS is empty) and no mesh: set LOCAL_XDS_PATH",
    );
  }
  if (localMesh.kind === "text") return parseMeshFile(localMesh.text, { source: "LOCAL_XDS" });
  const { path } = localMesh;
  requirePermissions([{ kind: "read", what: path, why: "read the mesh file" }]);
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartError(`Cannot read mesh file ${path}: ${reason}`, { cause: error });
  }
  return parseMeshFile(text, { source: path });
}

/** Runs a plan until a signal, prints its banner once it is ready. */
async function runUntilSignal(plan: Plan): Promise<void> {
  const stop = new AbortController();
  let state: ShutdownState = null;
  let logging: Logging | null = null;
  const hear = (signal: Signal) => {
    const { step, state: after } = onSignal(state, signal, performance.now());
    state = after;
    if (step === "drain") stop.abort(startingShutdown(signal));
    if (step === "exit") {
      logging?.logger.log("info", "ztunnel::signal", startingShutdown(signal));
      logging?.logger.log("info", "ztunnel::signal", "Double Ctrl+C, exit immediately");
      logging?.flushSync();
      Deno.exit(0);
    }
  };
  const handlers = (["SIGINT", "SIGTERM"] as const).map((signal) => {
    const handler = () => hear(signal);
    Deno.addSignalListener(signal, handler);
    return { signal, handler };
  });
  // Heard from the beginning, so that the runtime's own handler is installed before the native network, which can do
  // more than warn, has the signal ignored.
  const warnOfDebugger = () => logging?.logger.log("warn", "ztunnel::signal", DEBUGGER_OPENED);
  Deno.addSignalListener("SIGUSR1", warnOfDebugger);
  try {
    await runPlan(plan, {
      stop: stop.signal,
      requestStop: () => stop.abort(EXPLICIT_SHUTDOWN),
      onLogging: (opened) => logging = opened,
      onReady: () => {
        logging?.flushSync(); // So that the banner comes after the lines about the start.
        print(plan.banner.map((line) => `${line}\n`).join(""));
      },
    });
  } finally {
    for (const { signal, handler } of handlers) Deno.removeSignalListener(signal, handler);
    Deno.removeSignalListener("SIGUSR1", warnOfDebugger);
  }
}

function startingShutdown(signal: Signal): string {
  return `received signal ${signal}, starting shutdown`;
}

function explain(error: unknown): string {
  if (error instanceof ProxyError) return error.message;
  if (error instanceof Deno.errors.NotCapable) return `Missing permission: ${error.message}`;
  return error instanceof Error ? error.stack ?? error.message : String(error); // A bug: all we know.
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

function printError(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

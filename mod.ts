// ztunnel for Deno: the node proxy of Istio ambient mesh. This is the public entry and the command line.
import { main } from "./src/main.ts";

export type { Config } from "./src/config/config.ts";
export { ConfigError } from "./src/config/errors.ts";
export { run, type RunOptions } from "./src/main.ts";

if (import.meta.main) await main(Deno.args);

// ztunnel for Deno: the node proxy of Istio ambient mesh. This is the public entry and the command line.
import { main } from "./src/main.ts";

export type { SocketAddress } from "./src/base/address.ts";
export { ProxyError } from "./src/base/errors.ts";
export {
  type CaConfig,
  type Config,
  type ConfigSources,
  type ControlServer,
  type Header,
  type IoProvider,
  type Listeners,
  type LocalMesh,
  type NativeSettings,
  type Notice,
  type ProxyMode,
  readConfig,
  type Token,
  type TrustRoot,
  type WorkloadInfo,
  type XdsConfig,
} from "./src/config/config.ts";
export type { Environment } from "./src/config/env_reader.ts";
export { ConfigError } from "./src/config/errors.ts";
export { run } from "./src/main.ts";

if (import.meta.main) await main(Deno.args);
